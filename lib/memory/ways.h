/* SPDX-License-Identifier: MIT */
/*
 * The two ways to populate memory, and which one is cheaper here.
 *
 * MADV_POPULATE_WRITE holds mmap_lock for reading for a whole step: steps of several workers share
 * it, but each mmap() or munmap() of the process waits for all of them, and keeps the next ones
 * waiting. Page faults of user mode take the lock of one mapping, if the kernel has such locks for
 * this kind of memory, and then scale with the CPUs, beside any number of such calls. But each
 * costs an exception, which is much for pages of 4 KiB on a machine with few CPUs.
 *
 * What is the case is not looked up: each context measures both for each kind of memory, and keeps
 * to the one that costs less.
 */
#ifndef VFB_WAYS_H
#define VFB_WAYS_H

#include "memory/memory.h"

enum vfb_way {
	VFB_WAY_ADVISE,
	VFB_WAY_TOUCH,
	VFB_WAY_COUNT,
};

struct vfb_ways;

int vfb_ways_create(struct vfb_ways **out);
void vfb_ways_destroy(struct vfb_ways *ways);

/* The way for the next step of populating @memory, which is to be of @bytes at most if it is
 * touched. */
enum vfb_way vfb_ways_choose(struct vfb_ways *ways, const struct vfb_memory *memory,
			     uint64_t *bytes);

/* A step of @bytes took @ns. */
void vfb_ways_add(struct vfb_ways *ways, const struct vfb_memory *memory, enum vfb_way way,
		  uint64_t bytes, uint64_t ns);

/*
 * Whether touching cannot harm in this thread: the memory is nothing but memory (for the region of
 * a device it would be a write), and no seccomp filter may end the process for creating a child.
 */
bool vfb_ways_may_touch(struct vfb_memory *memory, struct vfb_job *job);

#endif
