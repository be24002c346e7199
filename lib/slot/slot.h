/* SPDX-License-Identifier: MIT */
#ifndef VFB_SLOT_H
#define VFB_SLOT_H

#include <vfioboost/slot.h>

#include "slot/layout.h"
#include "slot/wire.h"

struct vfb_slot {
	struct vfb_ctx *ctx;
	char name[VFB_WIRE_NAME];
	struct vfb_memory *memory;
	struct vfb_space *space;
	struct vfb_range ranges[VFB_WIRE_RANGES];
	size_t range_count;
	struct vfb_device *devices[VFB_WIRE_DEVICES];
	size_t device_count;
	/* iommufd: what the devices were attached to, when the slot was made here. */
	uint32_t domain;
	/* Those of the daemon, in the order of struct vfb_wire_grant; none of a slot made here. */
	int fds[VFB_WIRE_FDS];
	size_t fd_count;
	/* To the daemon; -1: none. */
	int connection;
	/* VFB_SLOT_COLD. */
	uint32_t flags;
	char reason[VFB_WIRE_TEXT];
};

/* An empty slot; reports -ENOMEM. */
struct vfb_slot *vfb_slot_new(struct vfb_ctx *ctx);

/* Called from time to time while a slot is made, and when it is. */
typedef void vfb_slot_progress(uint64_t bytes_done, void *arg);

/*
 * Makes what a slot consists of in this process: populates, opens the devices and maps at the same
 * time. @progress may be NULL. Level 0 is memory only, level 2 everything. At level 1, which needs
 * iommufd, the devices are closed again, and their domain stays.
 */
int vfb_slot_make(struct vfb_ctx *ctx, const struct vfb_slot_cold *cold, unsigned int level,
		  vfb_slot_progress *progress, void *arg, struct vfb_slot **out);

/* What to hand over, with the file descriptors, which stay the slot's. Returns their number. */
size_t vfb_slot_describe(const struct vfb_slot *slot, struct vfb_wire_grant *grant,
			 int fds[VFB_WIRE_FDS]);

/* Asks the daemon for a slot, and takes over what it sends. */
int vfb_slot_fetch(struct vfb_ctx *ctx, const struct vfb_slot_opts *opts, struct vfb_slot **out);

#endif
