/* SPDX-License-Identifier: MIT */
#ifndef VFB_POOL_H
#define VFB_POOL_H

#include <stddef.h>

#include "sys/sys.h"

struct vfb_memory;

/* Pages that were added to a pool and have to be returned. */
struct vfb_pool_loan {
	/* -1: wherever the kernel put them. */
	int node;
	uint64_t page_bytes, pages;
};

/*
 * Checks that the pools have @pages free pages on the nodes that the policy requires. Reports
 * -ENOTSUP if the kernel has no such pages, -ENOMEM if there are too few.
 */
int vfb_pool_check(const struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/* What mmap() could reserve: hugetlb_acct_memory(). */
struct vfb_pool_supply {
	/* Pages that are free and not reserved, on the nodes that the cpuset allows. */
	uint64_t free;
	/* Free pages that are reserved for mappings that exist. */
	uint64_t reserved;
	/* What the kernel adds to the pool on demand (nr_overcommit_hugepages). */
	uint64_t surplus;
	/* -1; or, while the cpuset does not allow all nodes, one that it allows. */
	int cpuset_node;
};

/* The most sizes of hugetlb pages that are known of one kernel are four, of arm64. */
#define VFB_POOL_SIZES 8

/*
 * The sizes of the kernel's hugetlb pages, those of 2 MiB and 1 GiB also if it has none, the
 * largest first. Returns how many there are.
 */
size_t vfb_pool_sizes(const struct vfb_sys *sys, uint64_t all[VFB_POOL_SIZES]);

struct vfb_pool_supply vfb_pool_read_supply(const struct vfb_sys *sys, uint64_t page_bytes);

/* File descriptors, -1 without one. */
struct vfb_pool_lock {
	int root, everywhere;
};

#define VFB_POOL_UNLOCKED ((struct vfb_pool_lock){-1, -1})

/* Free pages of a node, -1: of the machine, where those that are reserved are subtracted. */
uint64_t vfb_pool_free(const struct vfb_sys *sys, int node, uint64_t page_bytes);

/*
 * Excludes other processes that use this library, also in other containers, from changing pools
 * until vfb_pool_unlock(). Without permission to lock, changing a pool fails, too.
 */
struct vfb_pool_lock vfb_pool_lock(const struct vfb_sys *sys);
void vfb_pool_unlock(const struct vfb_sys *sys, const struct vfb_pool_lock *lock);

/*
 * Adds the pages that vfb_pool_check() found missing, and records them in the loans of the memory,
 * also if it fails: call vfb_pool_shrink() then. Wants the lock held.
 */
int vfb_pool_grow(struct vfb_memory *memory, uint64_t page_bytes, uint64_t pages);

/* Returns the added pages to the system, after the memory has released its pages. Wants the lock
 * held. */
void vfb_pool_shrink(struct vfb_memory *memory);

#endif
