/* SPDX-License-Identifier: MIT */
#include "dma/table.h"

#include <stdlib.h>

/* Fill of new blocks, which leaves room for a few segments before a block must be split. */
#define FILL 48

static bool is_same(const struct vfb_block *block, const struct vfb_link *links, size_t count)
{
	if (block->count != count)
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct vfb_segment *segment = &block->segments[i];

		if (block->begins[i] != links[i].begin ||
		    segment->bytes != links[i].segment.bytes ||
		    segment->to != links[i].segment.to || segment->flags != links[i].segment.flags)
			return false;
	}
	return true;
}

static struct vfb_table *allocate(size_t blocks)
{
	struct vfb_table *table = malloc(sizeof(*table) +
					 (blocks + 1) * (sizeof(uint64_t) + sizeof(void *)));

	if (!table)
		return NULL;
	table->count = 0;
	table->begins = (uint64_t *)(table + 1);
	table->blocks = (struct vfb_block **)(table->begins + blocks + 1);
	return table;
}

static void append(struct vfb_table *table, struct vfb_block *block)
{
	uint64_t *begins = (uint64_t *)(table + 1);

	begins[table->count] = block->begins[0];
	table->blocks[table->count++] = block;
}

/* Distributes segments evenly over as many blocks as needed. */
static bool append_links(struct vfb_table *table, const struct vfb_link *links, size_t count)
{
	size_t blocks = count <= VFB_BLOCK_SEGMENTS ? 1 : (count + FILL - 1) / FILL;

	for (size_t i = 0; i < blocks && count; i++) {
		size_t first = i * count / blocks, end = (i + 1) * count / blocks;
		struct vfb_block *block = malloc(sizeof(*block));

		if (!block)
			return false;
		block->count = end - first;
		for (size_t n = first; n < end; n++) {
			block->begins[n - first] = links[n].begin;
			block->segments[n - first] = links[n].segment;
		}
		append(table, block);
	}
	return true;
}

/* Number of links that begin before the next block. */
static size_t count_before(const struct vfb_link *links, size_t count, const struct vfb_table *old,
			   size_t block)
{
	size_t before = 0;

	if (block + 1 == old->count)
		return count;
	while (before < count && links[before].begin < old->begins[block + 1])
		before++;
	return before;
}

struct vfb_table *vfb_table_create(const struct vfb_link *links, size_t count,
				   const struct vfb_table *old)
{
	struct vfb_table *table;
	size_t blocks;

	/* If there are many sparse blocks, all blocks are rebuilt. */
	if (old && old->count > 2 + 4 * (count / FILL))
		old = NULL;
	blocks = old ? old->count : 0;
	table = allocate(2 * (blocks + 1) + 2 * (count / FILL));
	if (!table)
		return NULL;
	for (size_t i = 0; i < blocks; i++) {
		size_t next = count_before(links, count, old, i);
		bool done = true;

		if (is_same(old->blocks[i], links, next))
			append(table, old->blocks[i]);
		else
			done = append_links(table, links, next);
		if (!done) {
			vfb_table_free(table, old);
			return NULL;
		}
		links += next;
		count -= next;
	}
	if (!append_links(table, links, count)) {
		vfb_table_free(table, old);
		return NULL;
	}
	return table;
}

void vfb_table_free(struct vfb_table *table, const struct vfb_table *kept)
{
	size_t other = 0;

	if (!table)
		return;
	/* Shared blocks are in the same order in both tables. */
	for (size_t i = 0; i < table->count; i++) {
		size_t found = other;

		while (kept && found < kept->count && kept->blocks[found] != table->blocks[i])
			found++;
		if (kept && found < kept->count)
			other = found + 1;
		else
			free(table->blocks[i]);
	}
	free(table);
}
