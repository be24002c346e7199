/* SPDX-License-Identifier: MIT */
#include "dma/index.h"

#include <stdlib.h>

#include "container_of.h"

uint64_t vfb_interval_last(const struct vfb_interval *interval)
{
	return interval->iova + (interval->bytes - 1);
}

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

static struct vfb_mapping *mapping_of(struct vfb_interval *interval)
{
	return interval ? container_of(interval, struct vfb_mapping, at) : NULL;
}

void vfb_index_free(struct vfb_index *index)
{
	struct vfb_mapping *mapping;

	while ((mapping = vfb_index_at(index, 0)))
		vfb_index_remove(index, mapping);
	vfb_index_remove_extents(index, 0, UINT64_MAX);
	*index = (struct vfb_index){0};
}

struct vfb_mapping *vfb_index_at(const struct vfb_index *index, uint64_t iova)
{
	return mapping_of(vfb_interval_at(&index->mappings, iova));
}

struct vfb_mapping *vfb_index_next(struct vfb_mapping *mapping)
{
	return mapping_of(vfb_interval_next(&mapping->at));
}

struct vfb_mapping *vfb_index_find(const struct vfb_index *index, uint64_t iova)
{
	struct vfb_mapping *mapping = vfb_index_at(index, iova);

	return mapping && mapping->at.iova == iova ? mapping : NULL;
}

struct vfb_mapping *vfb_index_add(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_interval *clash = vfb_interval_add(&index->mappings, &mapping->at);

	if (clash)
		return mapping_of(clash);
	index->count++;
	index->bytes += mapping->at.bytes;
	return NULL;
}

void vfb_index_remove(struct vfb_index *index, struct vfb_mapping *mapping)
{
	vfb_interval_remove(&index->mappings, &mapping->at);
	index->count--;
	index->bytes -= mapping->at.bytes;
	/* Its IOVAs may be part of a gap that begins anywhere before it. */
	if (mapping->at.iova < index->gap_iova)
		vfb_index_forget_gap(index);
	free(mapping);
}

void vfb_index_forget_gap(struct vfb_index *index)
{
	index->gap_alignment = 0;
}

/* The next extent after @before in the area that ends with @last, or the first one in it. */
static struct vfb_interval *next_extent(const struct vfb_index *index, struct vfb_interval *before,
					uint64_t iova, uint64_t last)
{
	struct vfb_interval *extent = before ? vfb_interval_next(before) :
					       vfb_interval_at(&index->extents, iova);

	return extent && extent->iova <= last ? extent : NULL;
}

size_t vfb_index_count_extents(const struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	struct vfb_interval *extent = NULL;
	size_t count = 0;

	while ((extent = next_extent(index, extent, iova, iova + (bytes - 1))))
		count++;
	return count;
}

void vfb_index_add_extent(struct vfb_index *index, struct vfb_interval *extent)
{
	vfb_interval_add(&index->extents, extent);
}

size_t vfb_index_remove_extents(struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	struct vfb_interval *extent;
	size_t count = 0;

	while ((extent = next_extent(index, NULL, iova, iova + (bytes - 1)))) {
		vfb_interval_remove(&index->extents, extent);
		free(extent);
		count++;
	}
	return count;
}

/* The lowest value from @first on that is congruent to @address; false when it wraps. */
static bool align_up(uint64_t first, uint64_t address, uint64_t alignment, uint64_t *aligned)
{
	*aligned = first + ((address - first) & (alignment - 1));
	return *aligned >= first;
}

/* Looks in one valid range. */
static bool find_gap_in(const struct vfb_index *index, const struct vfb_iova_range *range,
			uint64_t bytes, uint64_t address, uint64_t alignment, uint64_t *iova)
{
	struct vfb_mapping *mapping = vfb_index_at(index, range->first);
	uint64_t first = range->first;

	while (align_up(first, address, alignment, iova) && *iova <= range->last &&
	       bytes - 1 <= range->last - *iova) {
		if (!mapping || mapping->at.iova > *iova + (bytes - 1))
			return true;
		/* In the way: go on behind it. */
		first = vfb_interval_last(&mapping->at) + 1;
		if (!first)
			return false;
		mapping = vfb_index_next(mapping);
	}
	return false;
}

/* Where looking begins: what was looked through for the same or for less is not again. */
static uint64_t first_gap(const struct vfb_index *index, uint64_t bytes, uint64_t address,
			  uint64_t alignment)
{
	bool same = index->gap_alignment == alignment && index->gap_bytes <= bytes &&
		    !((index->gap_address ^ address) & (alignment - 1));

	return same ? index->gap_iova : 0;
}

bool vfb_index_find_gap(struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova)
{
	uint64_t first = first_gap(index, bytes, address, alignment);

	for (size_t i = 0; i < range_count; i++) {
		struct vfb_iova_range range = ranges[i];

		if (range.last < first)
			continue;
		if (range.first < first)
			range.first = first;
		if (!find_gap_in(index, &range, bytes, address, alignment, iova))
			continue;
		index->gap_iova = *iova;
		index->gap_bytes = bytes;
		index->gap_address = address;
		index->gap_alignment = alignment;
		return true;
	}
	return false;
}
