/* SPDX-License-Identifier: MIT */
#ifndef VFB_INDEX_H
#define VFB_INDEX_H

/* Called for an interval whose children have changed. */
#define RB_AUGMENT(interval) vfb_interval_augment(interval)
#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <vfioboost/space.h>

/* A part of an I/O address space, at least one byte, in a tree of such that do not overlap. */
struct vfb_interval {
	RB_ENTRY(vfb_interval) link;
	uint64_t iova, bytes;
	/* Of it and what is below it: the first and the last byte, and the largest gap between. */
	uint64_t lowest, highest, gap;
};

void vfb_interval_augment(struct vfb_interval *interval);

/* In order of IOVA. Zero is an empty one. Whoever adds an interval keeps its memory alive. */
RB_HEAD(vfb_intervals, vfb_interval);

uint64_t vfb_interval_last(const struct vfb_interval *interval);

/* The first that ends at or after @iova, or NULL. */
struct vfb_interval *vfb_interval_at(const struct vfb_intervals *intervals, uint64_t iova);
struct vfb_interval *vfb_interval_next(struct vfb_interval *interval);

/* Adds an interval, unless it overlaps one that is there: returns that, or NULL when it did. */
struct vfb_interval *vfb_interval_add(struct vfb_intervals *intervals, struct vfb_interval *added);
void vfb_interval_remove(struct vfb_intervals *intervals, struct vfb_interval *interval);

enum vfb_mapping_state {
	/* Its IOVAs are reserved, a job is mapping it. */
	VFB_MAPPING_BEGUN,
	VFB_MAPPING_DONE,
	/* A job is unmapping it. */
	VFB_MAPPING_ENDING,
};

/* A range as the caller asked for it. */
struct vfb_mapping {
	struct vfb_interval at;
	struct vfb_memory *memory;
	uint64_t offset;
	uint32_t flags;
	enum vfb_mapping_state state;
	/* It can be translated though it is not done. */
	bool visible;
	/* Whatever maps or unmaps it, to be told from others; NULL when it is done. */
	const void *owner;
};

/*
 * What was asked for, and what the kernel has: an extent for each map call, which the kernel
 * unmaps as a whole or not at all. A mapping that is done and has no extent waits for the first
 * device; an extent that reaches into several mappings joins them. The space's lock guards it.
 */
struct vfb_index {
	struct vfb_intervals mappings, extents;
	/* Of the mappings. */
	size_t count;
	uint64_t bytes;
};

/* Frees everything in it. */
void vfb_index_free(struct vfb_index *index);

/* The first mapping that ends at or after @iova, and the one behind a mapping; or NULL. */
struct vfb_mapping *vfb_index_at(const struct vfb_index *index, uint64_t iova);
struct vfb_mapping *vfb_index_next(struct vfb_mapping *mapping);

/* The mapping that begins at @iova, or NULL. */
struct vfb_mapping *vfb_index_find(const struct vfb_index *index, uint64_t iova);

/* Adds a mapping from malloc(), unless it overlaps another: returns that, or NULL. */
struct vfb_mapping *vfb_index_add(struct vfb_index *index, struct vfb_mapping *mapping);
/* Removes and frees it. */
void vfb_index_remove(struct vfb_index *index, struct vfb_mapping *mapping);

/* How many extents there are in an area; those that only reach into it count, too. */
size_t vfb_index_count_extents(const struct vfb_index *index, uint64_t iova, uint64_t bytes);
/* Adds one from malloc(), which must not overlap another. */
void vfb_index_add_extent(struct vfb_index *index, struct vfb_interval *extent);
/* Removes and frees those in an area. Returns how many there were. */
size_t vfb_index_remove_extents(struct vfb_index *index, uint64_t iova, uint64_t bytes);

/*
 * Finds the lowest IOVA at which @bytes are free inside one of the valid ranges, and which is
 * congruent to @address modulo @alignment, a power of two. False when there is none.
 */
bool vfb_index_find_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova);

#endif
