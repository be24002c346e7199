/* SPDX-License-Identifier: MIT */
/*
 * How much memory may still be used. Where more is used than the cgroup, a node or the host has,
 * the kernel returns no error: it kills a process. So what is going to be used is compared with
 * what is left, before and while it is used.
 */
#ifndef VFB_ROOM_H
#define VFB_ROOM_H

#include <pthread.h>

#include "sys/sys.h"

/* The tightest limit that was found. */
struct vfb_room_limit {
	/* UINT64_MAX: none. */
	uint64_t bytes;
	/* "/sys/fs/cgroup/vm.slice/memory.max allows 1 GiB". */
	char text[256];
};

#define VFB_ROOM_ANYWHERE (-1)

/*
 * What is left, memory that the kernel can free by itself included: for base pages on @node, or by
 * the cgroups and the host with VFB_ROOM_ANYWHERE; or for pages of hugetlbfs of @page_bytes, by the
 * cgroups. Once @wanted bytes are found it may look no further.
 */
void vfb_room_read(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t wanted,
		   struct vfb_room_limit *limit);

/* 0, or -ENOMEM, reported, when @bytes more are not left. */
int vfb_room_check(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t bytes);

/* What workers may use before they look again. */
struct vfb_room;

int vfb_room_create(const struct vfb_sys *sys, struct vfb_room **out);
void vfb_room_destroy(struct vfb_room *room);

/*
 * Called for each step of populating base pages, which have to be on @node if that is not
 * VFB_ROOM_ANYWHERE: 0, or -ENOMEM, reported.
 */
int vfb_room_take(struct vfb_room *room, int node, uint64_t bytes);

#endif
