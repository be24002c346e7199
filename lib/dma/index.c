/* SPDX-License-Identifier: MIT */
#include "dma/index.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t last_of(const struct vfb_mapping *mapping)
{
	return mapping->iova + (mapping->bytes - 1);
}

void vfb_index_free(struct vfb_index *index)
{
	free(index->mappings);
	*index = (struct vfb_index){0};
}

size_t vfb_index_position(const struct vfb_index *index, uint64_t iova)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (last_of(&index->mappings[middle]) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct vfb_mapping *vfb_index_find(struct vfb_index *index, uint64_t iova)
{
	size_t position = vfb_index_position(index, iova);

	if (position == index->count || index->mappings[position].iova != iova)
		return NULL;
	return &index->mappings[position];
}

static bool is_free(const struct vfb_index *index, uint64_t first, uint64_t last)
{
	size_t position = vfb_index_position(index, first);

	return position == index->count || index->mappings[position].iova > last;
}

static int make_room(struct vfb_index *index, size_t count)
{
	size_t capacity = index->capacity ? index->capacity : 16;
	struct vfb_mapping *larger;

	while (capacity < index->count + count)
		capacity *= 2;
	if (capacity == index->capacity)
		return 0;
	larger = realloc(index->mappings, capacity * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	index->mappings = larger;
	index->capacity = capacity;
	return 0;
}

int vfb_index_add(struct vfb_index *index, const struct vfb_mapping *added, size_t count,
		  size_t *clash)
{
	size_t from = index->count, to = index->count + count;

	for (size_t i = 0; i < count; i++)
		if (!is_free(index, added[i].iova, last_of(&added[i]))) {
			*clash = i;
			return -EEXIST;
		}
	if (make_room(index, count))
		return -ENOMEM;
	index->count = to;
	/* Merged from the end, so that everything moves once. */
	while (count) {
		if (from && index->mappings[from - 1].iova > added[count - 1].iova)
			index->mappings[--to] = index->mappings[--from];
		else
			index->mappings[--to] = added[--count];
	}
	return 0;
}

void vfb_index_compact(struct vfb_index *index)
{
	size_t kept = 0;

	for (size_t i = 0; i < index->count; i++)
		if (index->mappings[i].state != VFB_MAPPING_GONE)
			index->mappings[kept++] = index->mappings[i];
	index->count = kept;
}

/* The lowest value from @first on that is congruent to @address; false when it wraps. */
static bool align_up(uint64_t first, uint64_t address, uint64_t alignment, uint64_t *aligned)
{
	*aligned = first + ((address - first) & (alignment - 1));
	return *aligned >= first;
}

bool vfb_index_find_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			size_t range_count, uint64_t bytes, uint64_t address, uint64_t alignment,
			uint64_t *iova)
{
	for (size_t i = 0; i < range_count; i++) {
		uint64_t first = ranges[i].first;
		size_t position = vfb_index_position(index, first);

		while (align_up(first, address, alignment, iova) && *iova <= ranges[i].last &&
		       bytes - 1 <= ranges[i].last - *iova) {
			if (position == index->count ||
			    index->mappings[position].iova > *iova + (bytes - 1))
				return true;
			/* In the way: go on behind it. */
			first = last_of(&index->mappings[position++]) + 1;
			if (!first)
				break;
		}
	}
	return false;
}
