/* SPDX-License-Identifier: MIT */
#include "dma/table.h"

#include <stdlib.h>
#include <string.h>

#include "observe/lanes.h"

/* Fill of new blocks, which leaves room for a few segments before a block must be split. */
#define FILL 72

/*
 * What readers load shares no cache line with what else the writer allocates, and writes to while
 * they read.
 */
static struct vfb_table *allocate(size_t blocks)
{
	struct vfb_table *table = vfb_lines_create(sizeof(*table) +
						   blocks * (sizeof(uint64_t) + sizeof(void *)));

	if (!table)
		return NULL;
	table->begins = (uint64_t *)(table + 1);
	table->blocks = (struct vfb_block **)(table->begins + blocks);
	return table;
}

static void append_blocks(struct vfb_table *table, struct vfb_block *const *blocks,
			  const uint64_t *begins, size_t count)
{
	uint64_t *all = (uint64_t *)(table + 1);

	memcpy(&all[table->count], begins, count * sizeof(*begins));
	memcpy(&table->blocks[table->count], blocks, count * sizeof(struct vfb_block *));
	table->count += count;
}

static size_t count_blocks(size_t links)
{
	return links <= VFB_BLOCK_SEGMENTS ? links > 0 : (links + FILL - 1) / FILL;
}

/* Distributes segments evenly over as many blocks as needed. */
static bool append_links(struct vfb_table *table, const struct vfb_link *links, size_t count)
{
	size_t blocks = count_blocks(count);

	for (size_t i = 0; i < blocks; i++) {
		size_t first = i * count / blocks, end = (i + 1) * count / blocks;
		struct vfb_block *block = vfb_lines_create(sizeof(*block));

		if (!block)
			return false;
		block->count = end - first;
		for (size_t n = first; n < end; n++) {
			block->begins[n - first] = links[n].begin;
			block->segments[n - first] = links[n].segment;
		}
		append_blocks(table, &block, block->begins, 1);
	}
	return true;
}

/* The blocks that an area overlaps or touches: segments may join across its ends. Sparse blocks are
 * merged with those that follow. */
static struct vfb_patch patch_of(const struct vfb_table *table, const struct vfb_area *area)
{
	struct vfb_patch patch = {
		.first = vfb_table_search(table->begins, table->count,
					  area->begin - (area->begin > 0)),
		.end = 1 + vfb_table_search(table->begins, table->count,
					    area->last + (area->last < UINT64_MAX)),
	};
	size_t segments = 0;

	for (size_t i = patch.first; i < patch.end || (i < table->count && segments < FILL / 2);
	     i++) {
		segments += table->blocks[i]->count;
		if (i >= patch.end)
			patch.end = i + 1;
	}
	return patch;
}

size_t vfb_table_cut(const struct vfb_table *table, const struct vfb_area *areas, size_t count,
		     struct vfb_patch *patches)
{
	size_t made = 0;

	for (size_t i = 0; i < count && table; i++) {
		struct vfb_patch patch = patch_of(table, &areas[i]);

		if (!made || patch.first >= patches[made - 1].end)
			patches[made++] = patch;
		else if (patch.end > patches[made - 1].end)
			patches[made - 1].end = patch.end;
	}
	if (!table)
		patches[made++] = (struct vfb_patch){0};
	for (size_t i = 0; i < made; i++) {
		struct vfb_patch *patch = &patches[i];

		patch->area.begin = patch->first ? table->begins[patch->first] : 0;
		patch->area.last = table && patch->end < table->count ?
					   table->begins[patch->end] - 1 :
					   UINT64_MAX;
	}
	return made;
}

static void free_blocks(struct vfb_table *table, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		free(table->blocks[i]);
}

void vfb_table_free_unused(struct vfb_table *table, const struct vfb_patch *patches, size_t count)
{
	size_t at = 0, old = 0;

	for (size_t i = 0; i < count && at < table->count; i++) {
		size_t end = at + (patches[i].first - old) + count_blocks(patches[i].link_count);

		at += patches[i].first - old;
		old = patches[i].end;
		free_blocks(table, at, end < table->count ? end : table->count);
		at = end;
	}
	free(table);
}

struct vfb_table *vfb_table_create(const struct vfb_table *old, const struct vfb_patch *patches,
				   size_t count, const struct vfb_link *links)
{
	size_t blocks = old ? old->count : 0, at = 0;
	struct vfb_table *table;

	for (size_t i = 0; i < count; i++)
		blocks += count_blocks(patches[i].link_count) - (patches[i].end - patches[i].first);
	table = allocate(blocks);
	for (size_t i = 0; table && i < count; i++) {
		const struct vfb_patch *patch = &patches[i];

		if (old)
			append_blocks(table, old->blocks + at, old->begins + at, patch->first - at);
		at = patch->end;
		/* There may be no links at all, and no array of them. */
		if (!patch->link_count ||
		    append_links(table, links + patch->first_link, patch->link_count))
			continue;
		vfb_table_free_unused(table, patches, count);
		return NULL;
	}
	if (table && old)
		append_blocks(table, old->blocks + at, old->begins + at, old->count - at);
	return table;
}

void vfb_table_free_replaced(struct vfb_table *old, const struct vfb_patch *patches, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free_blocks(old, patches[i].first, patches[i].end);
	free(old);
}

void vfb_table_free(struct vfb_table *table)
{
	if (table)
		free_blocks(table, 0, table->count);
	free(table);
}
