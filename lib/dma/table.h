/* SPDX-License-Identifier: MIT */
#ifndef VFB_TABLE_H
#define VFB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An immutable map from addresses to addresses. Its segments are in blocks of bounded size, and a
 * new table shares all unchanged blocks with its predecessor, so that they stay in the caches of
 * readers.
 */
struct vfb_table;

/* From one address to another. */
struct vfb_segment {
	uint64_t bytes;
	uint64_t to;
	uint32_t flags;
};

/* A segment and where it begins, as input for a table. */
struct vfb_link {
	uint64_t begin;
	struct vfb_segment segment;
};

#define VFB_BLOCK_SEGMENTS 96

/* Where segments begin, in order, apart from the rest: a search touches few cache lines. */
struct vfb_block {
	size_t count;
	uint64_t begins[VFB_BLOCK_SEGMENTS];
	struct vfb_segment segments[VFB_BLOCK_SEGMENTS];
};

struct vfb_table {
	size_t count;
	/* Begins of the blocks. Both arrays are part of the same allocation. */
	const uint64_t *begins;
	struct vfb_block **blocks;
};

/* Addresses from the first to the last. */
struct vfb_area {
	uint64_t begin, last;
};

/* Blocks of a table to be rebuilt, from @first up to @end, and the area that they cover. */
struct vfb_patch {
	size_t first, end;
	struct vfb_area area;
	/* The segments in the area, sorted and without overlaps. */
	size_t first_link, link_count;
};

/*
 * Finds the patches for areas that have changed, which are sorted. @table: the table that will be
 * replaced, or NULL. Returns the number of patches, at most @count (1 for NULL); the caller sets
 * their links.
 */
size_t vfb_table_cut(const struct vfb_table *table, const struct vfb_area *areas, size_t count,
		     struct vfb_patch *patches);

/* Creates a table from @old, which may be NULL, and patches. Returns NULL if memory is exhausted.
 */
struct vfb_table *vfb_table_create(const struct vfb_table *old, const struct vfb_patch *patches,
				   size_t count, const struct vfb_link *links);

/* Frees a table, except for blocks shared with the one created from it with these patches. */
void vfb_table_free_replaced(struct vfb_table *old, const struct vfb_patch *patches, size_t count);

/* Frees a table that will not be used, except for blocks shared with the one that it was created
 * from. */
void vfb_table_free_unused(struct vfb_table *table, const struct vfb_patch *patches, size_t count);
void vfb_table_free(struct vfb_table *table);

/*
 * The index of the last of @begins that is <= @address, 0 if there is none. The direction of each
 * step is unpredictable, so conditional moves are faster than branches.
 */
static inline size_t vfb_table_search(const uint64_t *begins, size_t count, uint64_t address)
{
	const uint64_t *base = begins;

	while (count > 1) {
		size_t half = count / 2;

		base = __builtin_expect_with_probability(base[half] <= address, 1, 0.5) ?
			       base + half :
			       base;
		count -= half;
	}
	return base - begins;
}

#endif
