/* SPDX-License-Identifier: MIT */
#ifndef VFB_PLAN_H
#define VFB_PLAN_H

#include "dma/space.h"

/* Ranges that are adjacent in IOVA and in memory, and equal in everything else. */
struct vfb_plan_run {
	/* The first of them in the order of the plan, and their number. */
	size_t first, count;
	uint64_t bytes;
	/* The pieces that populate them and the calls that map them, once they are cut. */
	size_t first_piece, piece_count;
	size_t first_call, call_count;
};

/* The order in which the ranges of a batch are populated and mapped. */
struct vfb_plan {
	/* Background ranges last, then by priority, then by IOVA. */
	struct vfb_range **order;
	size_t count;
	struct vfb_plan_run *runs;
	size_t run_count;
};

/*
 * Checks each range by itself, against the others and against the existing mappings, and sorts
 * them.
 *
 * @plan    is initialized; free it with vfb_plan_free(), whatever the result
 * @skip    receives true for each invalid range, whose status is set as well
 * @failed  called for each invalid range; NULL: the first one is the result
 */
int vfb_plan_make_locked(struct vfb_plan *plan, const struct vfb_space *space,
			 struct vfb_range *ranges, size_t count, bool *skip,
			 void (*failed)(void *arg, int error), void *arg);
void vfb_plan_free(struct vfb_plan *plan);

/*
 * Refuses what there are no pages for, before anything is populated: the kernel would kill. Ranges
 * that are wrong are left out. Reads files: call it without a lock.
 */
int vfb_ranges_check_room(const struct vfb_space *space, const struct vfb_range *ranges,
			  size_t count);

/* What the process may pin, and has pinned. */
struct vfb_memlock {
	/* UINT64_MAX: no limit. */
	uint64_t limit;
	uint64_t locked;
};

/* Reads files of /proc: call it without a lock. */
void vfb_memlock_read(const struct vfb_space *space, struct vfb_memlock *memlock);

/*
 * Refuses what RLIMIT_MEMLOCK would not let the kernel pin, before anything is populated. The
 * kernel may still refuse what passes, since other processes of the user may count as well. The
 * range that exceeds the limit gets the status.
 */
int vfb_plan_check_memlock(const struct vfb_plan *plan, const struct vfb_space *space,
			   const struct vfb_memlock *memlock);

/*
 * Decides whether adjacent ranges must be joined because the kernel has too few mappings left.
 * Fails with -ENOSPC if they are too few even then.
 */
int vfb_plan_check_entries_locked(const struct vfb_plan *plan, const struct vfb_space *space,
				  bool *joined);

#endif
