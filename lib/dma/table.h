/* SPDX-License-Identifier: MIT */
#ifndef VFB_TABLE_H
#define VFB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A map from addresses to addresses that is never changed, only replaced. Its segments lie in
 * blocks of bounded size, and a new table shares with the one before all the blocks in which
 * nothing is different: what readers have in their caches stays of use to them.
 */
struct vfb_table;

/* From one address to another. */
struct vfb_segment {
	uint64_t bytes;
	uint64_t to;
	uint32_t flags;
};

/* A segment and where it begins, on its way into a table. */
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
	/* Where blocks begin; both arrays are part of the same allocation. */
	const uint64_t *begins;
	struct vfb_block **blocks;
};

/*
 * Makes a table of segments, which are in order and don't overlap. @old: the one that it is to
 * replace, or NULL. NULL without memory.
 */
struct vfb_table *vfb_table_create(const struct vfb_link *links, size_t count,
				   const struct vfb_table *old);

/* Frees a table, but for the blocks that it shares with @kept, which is made from it or the one
 * that it was made from; NULL: all of it. */
void vfb_table_free(struct vfb_table *table, const struct vfb_table *kept);

/*
 * The position of the last of @begins that is not beyond @address, the first one if all are. Which
 * way a step goes is a matter of chance: conditional moves beat branches.
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
