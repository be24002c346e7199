/* SPDX-License-Identifier: MIT */
#include "dma/interval.h"

#include <stddef.h>

static int compare_intervals(const struct vfb_interval *a, const struct vfb_interval *b)
{
	return (a->iova > b->iova) - (a->iova < b->iova);
}

RB_PROTOTYPE(vfb_intervals, vfb_interval, link, compare_intervals)
RB_GENERATE(vfb_intervals, vfb_interval, link, compare_intervals)

struct vfb_interval *vfb_interval_at(const struct vfb_intervals *intervals, uint64_t iova)
{
	struct vfb_interval *interval = RB_ROOT(intervals), *found = NULL;

	while (interval) {
		if (vfb_interval_last(interval) < iova) {
			interval = RB_RIGHT(interval, link);
		} else {
			found = interval;
			interval = RB_LEFT(interval, link);
		}
	}
	return found;
}

struct vfb_interval *vfb_interval_next(struct vfb_interval *interval)
{
	return vfb_intervals_RB_NEXT(interval);
}

struct vfb_interval *vfb_interval_add(struct vfb_intervals *intervals, struct vfb_interval *added)
{
	struct vfb_interval *after = vfb_interval_at(intervals, added->iova);

	if (after && after->iova <= vfb_interval_last(added))
		return after;
	vfb_intervals_RB_INSERT(intervals, added);
	return NULL;
}

void vfb_interval_remove(struct vfb_intervals *intervals, struct vfb_interval *interval)
{
	vfb_intervals_RB_REMOVE(intervals, interval);
}
