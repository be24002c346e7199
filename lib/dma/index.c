/* SPDX-License-Identifier: MIT */
#include "dma/index.h"

#include <stdlib.h>

#include "container_of.h"
#include "dma/demand.h"
#include "memory/memory.h"

uint64_t vfb_interval_last(const struct vfb_interval *interval)
{
	return interval->iova + (interval->bytes - 1);
}

/* Those that overlap are equal. */
static int compare_intervals(const struct vfb_interval *a, const struct vfb_interval *b)
{
	return (a->iova > vfb_interval_last(b)) - (vfb_interval_last(a) < b->iova);
}

void vfb_interval_summarize(struct vfb_interval *interval)
{
	const struct vfb_interval *left = RB_LEFT(interval, link),
				  *right = RB_RIGHT(interval, link);
	uint64_t last = vfb_interval_last(interval);

	interval->lowest = left ? left->lowest : interval->iova;
	interval->highest = last;
	interval->gap = 0;
	if (left) {
		if (left->highest > last)
			interval->highest = left->highest;
		if (left->highest < interval->iova)
			interval->gap = interval->iova - left->highest - 1;
		if (left->gap > interval->gap)
			interval->gap = left->gap;
	}
	if (right) {
		if (right->highest > interval->highest)
			interval->highest = right->highest;
		if (right->lowest > last && right->lowest - last - 1 > interval->gap)
			interval->gap = right->lowest - last - 1;
		if (right->gap > interval->gap)
			interval->gap = right->gap;
	}
}

/* Before it is added. */
static void prepare_interval(struct vfb_interval *interval)
{
	RB_LEFT(interval, link) = RB_RIGHT(interval, link) = NULL;
	vfb_interval_summarize(interval);
}

/* Once, after the rotations, which keep the summaries of what is above them. */
static void summarize_upwards(struct vfb_interval *interval)
{
	for (; interval; interval = RB_PARENT(interval, link))
		vfb_interval_summarize(interval);
}

/* Where the summaries must be corrected after its removal: what is above is then right, too. */
static struct vfb_interval *lowest_affected(const struct vfb_interval *removed)
{
	/* Its successor takes its place, and the macro corrects everything above. */
	if (RB_LEFT(removed, link) && RB_RIGHT(removed, link))
		return NULL;
	return RB_PARENT(removed, link);
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

/* By address, then by IOVA. */
static int compare_addresses(const struct vfb_interval *a, const struct vfb_interval *b)
{
	if (a->iova != b->iova)
		return a->iova < b->iova ? -1 : 1;
	return compare_intervals(&container_of(a, const struct vfb_mapping, address)->at,
				 &container_of(b, const struct vfb_mapping, address)->at);
}

RB_PROTOTYPE(vfb_addresses, vfb_interval, link, compare_addresses)
RB_GENERATE(vfb_addresses, vfb_interval, link, compare_addresses)

static struct vfb_mapping *mapping_of(struct vfb_interval *interval)
{
	return interval ? container_of(interval, struct vfb_mapping, at) : NULL;
}

void vfb_index_free(struct vfb_index *index)
{
	struct vfb_mapping *mapping;

	/* The changes will not be read. */
	index->all_changed = true;
	while ((mapping = vfb_index_at(index, 0)))
		vfb_index_remove(index, mapping);
	vfb_index_remove_extents(index, 0, UINT64_MAX);
	free(index->changes);
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

static uint64_t address_of(const struct vfb_mapping *mapping)
{
	return (uintptr_t)mapping->memory->address + mapping->offset;
}

/* What devices cannot reach has no IOVA that they could be given. */
static void add_address(struct vfb_index *index, struct vfb_mapping *mapping)
{
	if (vfb_mapping_is_host_only(mapping))
		return;
	mapping->address.iova = address_of(mapping);
	mapping->address.bytes = mapping->at.bytes;
	prepare_interval(&mapping->address);
	vfb_addresses_RB_INSERT(&index->addresses, &mapping->address);
	summarize_upwards(RB_PARENT(&mapping->address, link));
}

static void remove_address(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_interval *affected;

	if (vfb_mapping_is_host_only(mapping))
		return;
	affected = lowest_affected(&mapping->address);
	vfb_addresses_RB_REMOVE(&index->addresses, &mapping->address);
	summarize_upwards(affected);
}

void vfb_mapping_free(struct vfb_mapping *mapping)
{
	vfb_demand_unref(mapping->demand);
	free(mapping);
}

struct vfb_mapping *vfb_index_add(struct vfb_index *index, struct vfb_mapping *mapping)
{
	/* The IOVA may have been chosen since it was made. */
	if (mapping->demand && !mapping->continues)
		mapping->demand->iova = mapping->at.iova;
	prepare_interval(&mapping->at);
	if (vfb_intervals_RB_INSERT(&index->mappings, &mapping->at))
		return vfb_index_at(index, mapping->at.iova);
	summarize_upwards(RB_PARENT(&mapping->at, link));
	index->count++;
	index->range_count += !mapping->continues;
	index->bytes += mapping->at.bytes;
	if (vfb_mapping_is_host_only(mapping))
		index->host_only_bytes += mapping->at.bytes;
	if (mapping->discarded)
		index->discarded_bytes += mapping->at.bytes;
	if (index->keeps_addresses)
		add_address(index, mapping);
	return NULL;
}

static void unlink_mapping(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_interval *affected = lowest_affected(&mapping->at);

	vfb_intervals_RB_REMOVE(&index->mappings, &mapping->at);
	summarize_upwards(affected);
	if (index->keeps_addresses)
		remove_address(index, mapping);
	index->count--;
	index->range_count -= !mapping->continues;
	index->bytes -= mapping->at.bytes;
	if (vfb_mapping_is_host_only(mapping))
		index->host_only_bytes -= mapping->at.bytes;
	if (mapping->discarded)
		index->discarded_bytes -= mapping->at.bytes;
}

/* A list of more changes than there are mappings would gain nothing. */
static void note_change(struct vfb_index *index, const struct vfb_mapping *mapping)
{
	size_t count = index->change_count;

	if (count >= 64 && count > index->count) {
		index->all_changed = true;
		return;
	}
	if (!(count & (count - 1))) {
		size_t room = count ? 2 * count : 1;
		void *larger = realloc(index->changes, room * sizeof(*index->changes));

		index->all_changed = !larger;
		if (!larger)
			return;
		index->changes = larger;
	}
	index->changes[index->change_count++] =
		(struct vfb_change){mapping->at.iova, address_of(mapping), mapping->at.bytes};
}

static void note_visibility(struct vfb_index *index, const struct vfb_mapping *mapping,
			    bool was_visible)
{
	if (index->is_translated && !index->all_changed &&
	    vfb_mapping_is_visible(mapping) != was_visible)
		note_change(index, mapping);
}

void vfb_index_set_state(struct vfb_index *index, struct vfb_mapping *mapping,
			 enum vfb_mapping_state state, bool visible)
{
	bool was_visible = vfb_mapping_is_visible(mapping);

	mapping->state = state;
	mapping->visible = visible;
	note_visibility(index, mapping, was_visible);
}

void vfb_index_set_discarded(struct vfb_index *index, struct vfb_mapping *mapping, bool discarded)
{
	bool was_visible = vfb_mapping_is_visible(mapping);

	if (mapping->discarded == discarded)
		return;
	mapping->discarded = discarded;
	index->discarded_bytes += discarded ? mapping->at.bytes : -mapping->at.bytes;
	note_visibility(index, mapping, was_visible);
}

static void keep_addresses(struct vfb_index *index)
{
	struct vfb_mapping *mapping = vfb_index_at(index, 0);

	if (index->keeps_addresses)
		return;
	index->keeps_addresses = true;
	for (; mapping; mapping = vfb_index_next(mapping))
		add_address(index, mapping);
}

void vfb_index_begin_translation(struct vfb_index *index)
{
	if (index->is_translated)
		return;
	keep_addresses(index);
	index->is_translated = true;
	index->all_changed = true;
}

static void resize_mapping(struct vfb_index *index, struct vfb_mapping *mapping, uint64_t bytes)
{
	mapping->at.bytes = mapping->address.bytes = bytes;
	summarize_upwards(&mapping->at);
	if (index->keeps_addresses)
		summarize_upwards(&mapping->address);
}

struct vfb_mapping *vfb_index_split(struct vfb_index *index, struct vfb_mapping *mapping,
				    uint64_t iova)
{
	uint64_t first = iova - mapping->at.iova, second = mapping->at.bytes - first;
	struct vfb_mapping *rest = malloc(sizeof(*rest));

	if (!rest)
		return NULL;
	*rest = *mapping;
	if (rest->demand)
		vfb_demand_ref(rest->demand);
	rest->at.iova = iova;
	rest->at.bytes = second;
	rest->offset += first;
	rest->continues = true;
	resize_mapping(index, mapping, first);
	/* They are counted again. */
	index->bytes -= second;
	if (rest->discarded)
		index->discarded_bytes -= second;
	vfb_index_add(index, rest);
	atomic_fetch_add(&rest->memory->users, 1);
	return rest;
}

/* Whether the next mapping is a part of the same range, and in the same state. */
static bool can_join(const struct vfb_mapping *mapping, const struct vfb_mapping *next)
{
	return next->continues && mapping->at.iova + mapping->at.bytes == next->at.iova &&
	       mapping->state == VFB_MAPPING_DONE && next->state == VFB_MAPPING_DONE &&
	       mapping->discarded == next->discarded;
}

static void join_with_next(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_mapping *next = vfb_index_next(mapping);
	uint64_t bytes;

	if (!next || !can_join(mapping, next))
		return;
	bytes = next->at.bytes;
	atomic_fetch_sub(&next->memory->users, 1);
	unlink_mapping(index, next);
	vfb_mapping_free(next);
	resize_mapping(index, mapping, mapping->at.bytes + bytes);
	index->bytes += bytes;
	if (mapping->discarded)
		index->discarded_bytes += bytes;
}

void vfb_index_join(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_interval *before = vfb_intervals_RB_PREV(&mapping->at);

	join_with_next(index, mapping);
	if (before)
		join_with_next(index, mapping_of(before));
}

/* No deeper than the tree. */
static void visit_below(struct vfb_interval *interval, uint64_t first, uint64_t last,
			void (*visit)(void *arg, struct vfb_mapping *mapping), void *arg)
{
	while (interval && interval->highest >= first) {
		visit_below(RB_LEFT(interval, link), first, last, visit, arg);
		if (interval->iova > last)
			return;
		if (vfb_interval_last(interval) >= first)
			visit(arg, container_of(interval, struct vfb_mapping, address));
		interval = RB_RIGHT(interval, link);
	}
}

void vfb_index_visit_addresses(struct vfb_index *index, uint64_t first, uint64_t last,
			       void (*visit)(void *arg, struct vfb_mapping *mapping), void *arg)
{
	keep_addresses(index);
	visit_below(RB_ROOT(&index->addresses), first, last, visit, arg);
}

void vfb_index_remove(struct vfb_index *index, struct vfb_mapping *mapping)
{
	struct vfb_mapping *next = vfb_index_next(mapping);

	/* What is left of a range stands for itself. */
	if (next && next->continues) {
		next->continues = false;
		index->range_count++;
	}
	vfb_index_set_state(index, mapping, VFB_MAPPING_ENDING, false);
	unlink_mapping(index, mapping);
	vfb_mapping_free(mapping);
}

bool vfb_index_has_extents(const struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	const struct vfb_interval *extent = vfb_interval_at(&index->extents, iova);

	return extent && extent->iova <= iova + (bytes - 1);
}

/* Nobody looks for gaps between extents: their summaries are not kept. */
void vfb_index_add_extent(struct vfb_index *index, struct vfb_interval *extent)
{
	vfb_intervals_RB_INSERT(&index->extents, extent);
}

size_t vfb_index_remove_extents(struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	struct vfb_interval *extent = vfb_interval_at(&index->extents, iova), *next;
	size_t count = 0;

	for (; extent && extent->iova <= iova + (bytes - 1); extent = next) {
		next = vfb_interval_next(extent);
		vfb_intervals_RB_REMOVE(&index->extents, extent);
		free(extent);
		count++;
	}
	return count;
}

struct wanted {
	uint64_t bytes, address, alignment;
};

/* The lowest fitting IOVA in a free area. */
static bool fit(uint64_t first, uint64_t last, const struct wanted *wanted, uint64_t *iova)
{
	*iova = first + ((wanted->address - first) & (wanted->alignment - 1));
	return *iova >= first && *iova <= last && wanted->bytes - 1 <= last - *iova;
}

/* Whether a large enough gap may exist from @first to @last, in the subtree of an interval. */
static bool may_fit(const struct vfb_interval *interval, uint64_t first, uint64_t last,
		    const struct wanted *wanted)
{
	return interval->gap >= wanted->bytes ||
	       (interval->lowest > first && interval->lowest - first >= wanted->bytes) ||
	       (interval->highest < last && last - interval->highest >= wanted->bytes);
}

/* Recurses no deeper than the tree. */
static bool find_gap(const struct vfb_interval *interval, uint64_t first, uint64_t last,
		     const struct wanted *wanted, uint64_t *iova)
{
	while (interval) {
		uint64_t before = interval->iova - 1, end = vfb_interval_last(interval);

		if (!may_fit(interval, first, last, wanted))
			return false;
		if (interval->iova > first && find_gap(RB_LEFT(interval, link), first,
						       before < last ? before : last, wanted, iova))
			return true;
		if (end >= last)
			return false;
		if (end >= first)
			first = end + 1;
		interval = RB_RIGHT(interval, link);
	}
	return fit(first, last, wanted, iova);
}

bool vfb_index_find_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova)
{
	const struct wanted wanted = {bytes, address, alignment};

	for (size_t i = 0; i < range_count; i++)
		if (find_gap(RB_ROOT(&index->mappings), ranges[i].first, ranges[i].last, &wanted,
			     iova))
			return true;
	return false;
}
