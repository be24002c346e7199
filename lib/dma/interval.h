/* SPDX-License-Identifier: MIT */
#ifndef VFB_INTERVAL_H
#define VFB_INTERVAL_H

#include <bsd/sys/tree.h>
#include <stdint.h>

/* A part of an I/O address space, at least one byte, in a tree of such that do not overlap. */
struct vfb_interval {
	RB_ENTRY(vfb_interval) link;
	uint64_t iova, bytes;
};

/* In order of IOVA. Zero is an empty one. Whoever adds an interval keeps its memory alive. */
RB_HEAD(vfb_intervals, vfb_interval);

static inline uint64_t vfb_interval_last(const struct vfb_interval *interval)
{
	return interval->iova + (interval->bytes - 1);
}

/* The first that ends at or after @iova, or NULL. */
struct vfb_interval *vfb_interval_at(const struct vfb_intervals *intervals, uint64_t iova);
struct vfb_interval *vfb_interval_next(struct vfb_interval *interval);

/* Adds an interval, unless it overlaps one that is there: returns that, or NULL when it did. */
struct vfb_interval *vfb_interval_add(struct vfb_intervals *intervals, struct vfb_interval *added);
void vfb_interval_remove(struct vfb_intervals *intervals, struct vfb_interval *interval);

#endif
