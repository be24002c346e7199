/* SPDX-License-Identifier: MIT */
/* Cutting what is planned into pieces for workers, and into waves. */
#include <errno.h>
#include <stdlib.h>

#include "dma/pipeline.h"
#include "memory/memory.h"
#include "round.h"

static int allocate_runs(struct map_job *map)
{
	map->entries = calloc(map->plan.count + 1, sizeof(*map->entries));
	map->runs = calloc(map->plan.run_count + 1, sizeof(*map->runs));
	map->waves = calloc(map->plan.run_count + 1, sizeof(*map->waves));
	return map->entries && map->runs && map->waves ? 0 : vfb_fail_memory();
}

/* Pieces end where huge pages of the memory do. */
static void cut_run(struct map_job *map, struct run *run, unsigned int width)
{
	uint64_t align = vfb_memory_granule(run->memory), end;

	run->piece_bytes = vfb_memory_piece_bytes(run->memory, run->offset, run->bytes, width);
	end = round_up(run->offset + run->piece_bytes, align);
	run->head = end - run->offset < run->bytes ? end - run->offset : run->bytes;
	run->piece_count = 1 + (run->bytes - run->head + run->piece_bytes - 1) / run->piece_bytes;
	map->job.bytes += run->bytes;
}

/* Where the piece that holds a place of the run ends. */
static uint64_t piece_end(const struct run *run, uint64_t offset)
{
	uint64_t end = run->head;

	if (offset >= run->head)
		end += ((offset - run->head) / run->piece_bytes + 1) * run->piece_bytes;
	return end < run->bytes ? end : run->bytes;
}

/* A run's entries; how many parts they have. */
static size_t add_entries(struct map_job *map, struct run *run, const struct vfb_plan_run *planned)
{
	uint64_t offset = 0;
	size_t parts = 0;

	run->first_entry = planned->first;
	run->entry_count = planned->count;
	for (size_t i = 0; i < planned->count; i++) {
		struct entry *entry = &map->entries[planned->first + i];
		uint64_t end, at;

		entry->range = map->plan.order[planned->first + i];
		entry->run = run;
		entry->placed = !(entry->range->flags & VFB_RANGE_ANY_IOVA);
		entry->first_part = run->first_part + parts;
		end = offset + entry->range->bytes;
		for (at = offset; at < end; at = piece_end(run, at))
			entry->part_count++;
		parts += entry->part_count;
		offset = end;
	}
	return parts;
}

static void add_runs(struct map_job *map, unsigned int width, size_t *pieces, size_t *parts)
{
	for (size_t i = 0; i < map->plan.run_count; i++) {
		const struct vfb_plan_run *planned = &map->plan.runs[i];
		const struct vfb_range *first = map->plan.order[planned->first];
		struct run *run = &map->runs[i];

		*run = (struct run){
			.memory = first->memory,
			.offset = first->offset,
			.bytes = planned->bytes,
			.first_piece = *pieces,
			.first_part = *parts,
		};
		cut_run(map, run, width);
		run->part_count = add_entries(map, run, planned);
		*pieces += run->piece_count;
		*parts += run->part_count;
	}
}

static void add_parts(struct map_job *map, const struct run *run)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < run->entry_count; i++) {
		struct entry *entry = &map->entries[run->first_entry + i];
		uint64_t begin = offset, end = offset + entry->range->bytes;

		for (size_t n = 0; n < entry->part_count; n++) {
			uint64_t next = piece_end(run, offset);

			if (next > end)
				next = end;
			map->parts[entry->first_part + n] = (struct part){
				.entry = entry,
				.offset = offset - begin,
				.bytes = next - offset,
			};
			offset = next;
		}
	}
}

static void add_pieces(struct map_job *map, struct run *run)
{
	size_t part = run->first_part;
	uint64_t offset = 0;

	for (size_t i = 0; i < run->piece_count; i++) {
		struct piece *piece = &map->pieces[run->first_piece + i];
		uint64_t end = piece_end(run, offset), at = offset;

		*piece = (struct piece){
			.task.run = vfb_pipeline_run_piece,
			.owner = map,
			.run = run,
			.offset = offset,
			.bytes = end - offset,
			.node = vfb_memory_node(run->memory, run->offset + offset, i),
			.first_part = part,
		};
		while (at < end)
			at += map->parts[part++].bytes;
		piece->part_count = part - piece->first_part;
		offset = end;
	}
}

/* Where the kernel maps in turn, what comes first must be mapped before the rest is populated. */
static void add_waves(struct map_job *map)
{
	const struct vfb_range *before = NULL;

	for (size_t i = 0; i < map->run_count; i++) {
		const struct vfb_range *range = map->entries[map->runs[i].first_entry].range;
		bool background = range->flags & VFB_RANGE_BACKGROUND;

		if (!before || background != !!(before->flags & VFB_RANGE_BACKGROUND) ||
		    (map->serial && range->priority != before->priority))
			map->waves[map->wave_count++] = (struct wave){.first_run = i,
								      .background = background};
		map->waves[map->wave_count - 1].run_count++;
		before = range;
	}
}

/* So many bytes of huge pages that are populated are mapped by file in a few milliseconds. */
#define QUICK_BYTES (16 * GIB)

/* Only has to be mapped, and by file, which takes no longer for a huge page than for a small one.
 */
static bool is_quick(const struct map_job *map, const struct run *run)
{
	const struct vfb_memory *memory = run->memory;

	return map->space->iommu->maps_files && memory->fd >= 0 && memory->page_bytes >= 2 * MIB &&
	       vfb_memory_was_populated(memory, run->offset, run->bytes);
}

/*
 * How many pieces may be on their way at once. Workers that map by file side by side are in each
 * other's way: two took 1.6 times as long as one for 3 GiB of pages of 2 MiB (measured, Linux 7.3).
 */
static unsigned int limit_width(const struct map_job *map)
{
	uint64_t enough = 1 + map->job.bytes / QUICK_BYTES;

	for (size_t i = 0; i < map->run_count; i++)
		if (!is_quick(map, &map->runs[i]))
			return map->width;
	return enough < map->width ? enough : map->width;
}

int vfb_pipeline_cut(struct map_job *map, unsigned int width)
{
	size_t pieces = 0, parts = 0;

	if (allocate_runs(map))
		return -ENOMEM;
	add_runs(map, width, &pieces, &parts);
	map->run_count = map->plan.run_count;
	map->width = limit_width(map);
	map->pieces = calloc(pieces + 1, sizeof(*map->pieces));
	map->parts = calloc(parts + 1, sizeof(*map->parts));
	if (!map->pieces || !map->parts)
		return vfb_fail_memory();
	for (size_t i = 0; i < map->run_count; i++) {
		add_parts(map, &map->runs[i]);
		add_pieces(map, &map->runs[i]);
	}
	add_waves(map);
	map->count = map->plan.count;
	return 0;
}

void vfb_pipeline_free_cut(struct map_job *map)
{
	vfb_plan_free(&map->plan);
	free(map->entries);
	free(map->runs);
	free(map->pieces);
	free(map->parts);
	free(map->waves);
}
