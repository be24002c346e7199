/* SPDX-License-Identifier: MIT */
#ifndef VFB_POOL_H
#define VFB_POOL_H

#include <stddef.h>

#include "sys/sys.h"

struct vfb_memory;

/* Pages that were added to a pool, and are to be given back. */
struct vfb_pool_loan {
	/* -1: wherever the kernel put them. */
	int node;
	uint64_t page_bytes, pages;
};

/*
 * 0 when the pools have @pages free pages for the memory where it must have them; -ENOTSUP: the
 * kernel has no such pages; -ENOMEM: too few.
 */
int vfb_pool_check(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/*
 * Keeps the library in other processes from changing pools until vfb_pool_unlock(); -1 when there
 * is nothing to lock, or no permission, with which changing the pool fails too.
 */
int vfb_pool_lock(const struct vfb_sys *sys);
void vfb_pool_unlock(const struct vfb_sys *sys, int lock);

/*
 * Adds to the pools what vfb_pool_check() misses, and notes it in the memory's loans, which hold
 * what was added after a failure, too: vfb_pool_shrink() returns it. With the lock held.
 */
int vfb_pool_grow(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/* Returns what was added, once the memory has no pages any more. With the lock held. */
void vfb_pool_shrink(struct vfb_memory *memory);

#endif
