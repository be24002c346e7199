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

#define VFB_BLOCK_SEGMENTS 64

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

/*
 * Creates a table of segments, which are sorted and do not overlap. @old: the table that it will
 * replace, or NULL. Returns NULL if memory is exhausted.
 */
struct vfb_table *vfb_table_create(const struct vfb_link *links, size_t count,
				   const struct vfb_table *old);

/* Frees a table, except for blocks shared with @kept, its predecessor or successor; NULL: all of
 * it. */
void vfb_table_free(struct vfb_table *table, const struct vfb_table *kept);

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
