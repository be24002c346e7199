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
 * kernel has no such pages, -ENOMEM: too few, told.
 */
int vfb_pool_check(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/*
 * Adds to the pools what vfb_pool_check() misses, and notes it in the memory's loans, which hold
 * what was added after a failure, too: vfb_pool_shrink() gives it back.
 */
int vfb_pool_grow(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/* Takes back what was added, once the memory has given its pages back. */
void vfb_pool_shrink(struct vfb_memory *memory);

#endif
