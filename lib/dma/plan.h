/* SPDX-License-Identifier: MIT */
#ifndef VFB_PLAN_H
#define VFB_PLAN_H

#include "dma/space.h"

/*
 * What can be said about ranges before anything is done. Each is told with the number of the
 * entry.
 */

/* One entry by itself: size, alignment, bounds, flags. */
int vfb_plan_check(const struct vfb_space *space, const struct vfb_range *range, size_t entry);

/*
 * Takes the IOVAs of the entries that have fixed ones, whose @skip is false. -EEXIST when one
 * overlaps another, or what is mapped; then none is taken and @culprit is its number. -ENOMEM.
 */
int vfb_plan_take_fixed(struct vfb_space *space, const struct vfb_range *ranges, size_t count,
			const bool *skip, size_t *culprit);

/*
 * With the domain there: checks the fixed IOVA of an entry against what the domain admits, or
 * finds and takes one for it. Called with the space's lock held.
 */
int vfb_plan_place(struct vfb_space *space, struct vfb_range *range, size_t entry);

#endif
