/* SPDX-License-Identifier: MIT */
/*
 * How much memory is available. If more is used than the cgroup, a node or the host has, the kernel
 * does not return an error but kills a process. Therefore the memory that is going to be used is
 * compared with what is available, beforehand and in the course of populating.
 */
#ifndef VFB_ROOM_H
#define VFB_ROOM_H

#include <pthread.h>

#include "sys/sys.h"

/* The tightest limit. */
struct vfb_room_limit {
	/* UINT64_MAX: none. */
	uint64_t bytes;
	/* "/sys/fs/cgroup/vm.slice/memory.max allows 1 GiB". */
	char text[256];
};

#define VFB_ROOM_ANYWHERE (-1)

/*
 * Reads what is available, including memory that the kernel can reclaim: base pages on @node, or,
 * with VFB_ROOM_ANYWHERE, in the cgroups, on the nodes that the cpuset allows, and on the host; for
 * hugetlb pages of @page_bytes what the cgroups allow. Reclaimable memory is only counted if less
 * than @wanted bytes are unused.
 */
void vfb_room_read(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t wanted,
		   struct vfb_room_limit *limit);

/* Reports -ENOMEM if fewer than @bytes are available. */
int vfb_room_check(const struct vfb_sys *sys, uint64_t page_bytes, int node, uint64_t bytes);

/* The same for hugetlb pages that mmap() reserves, which have limits of their own (Linux 5.7). */
int vfb_room_check_reserve(const struct vfb_sys *sys, uint64_t page_bytes, uint64_t bytes);

/* Whether the process may use the memory of some nodes only (cpuset.mems): one bit for each. */
bool vfb_room_is_in_cpuset(const struct vfb_sys *sys, uint64_t *nodes);

/* What the workers may use before the limits are read again. */
struct vfb_room;

int vfb_room_create(const struct vfb_sys *sys, struct vfb_room **out);
void vfb_room_destroy(struct vfb_room *room);

/*
 * To be called before each step of populating base pages, which must be on @node unless that is
 * VFB_ROOM_ANYWHERE. Reports -ENOMEM. Otherwise vfb_room_populated() must follow, also if the step
 * has failed: when little is left, others wait for it.
 */
int vfb_room_take(struct vfb_room *room, int node, uint64_t bytes);
/* The same for many steps at once, as long as plenty is left: false if that is not known. */
bool vfb_room_try_take(struct vfb_room *room, int node, uint64_t bytes);
void vfb_room_populated(struct vfb_room *room, int node, uint64_t bytes);

#endif
