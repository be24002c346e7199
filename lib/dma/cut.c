/* SPDX-License-Identifier: MIT */
/* Cutting a plan into pieces for workers, waves, and map calls. */
#include <errno.h>
#include <stdlib.h>

#include "dma/pipeline.h"
#include "dma/range.h"
#include "memory/memory.h"
#include "round.h"

static const struct vfb_range *first_range(const struct map_job *map,
					   const struct vfb_plan_run *run)
{
	return map->plan.order[run->first];
}

/* Size of a piece. Pieces end at the boundaries of the memory's huge pages. */
static uint64_t piece_bytes(const struct map_job *map, const struct vfb_plan_run *run,
			    unsigned int width)
{
	const struct vfb_range *range = first_range(map, run);

	return vfb_memory_piece_bytes(range->memory, range->offset, run->bytes, width);
}

/* The end of the first piece of a run. */
static uint64_t head_bytes(const struct map_job *map, const struct vfb_plan_run *run,
			   uint64_t piece)
{
	const struct vfb_range *range = first_range(map, run);
	uint64_t end = round_up(range->offset + piece, vfb_memory_granule(range->memory));

	return end - range->offset < run->bytes ? end - range->offset : run->bytes;
}

static size_t count_pieces(struct map_job *map, unsigned int width)
{
	size_t count = 0;

	for (size_t i = 0; i < map->plan.run_count; i++) {
		struct vfb_plan_run *run = &map->plan.runs[i];
		uint64_t piece = piece_bytes(map, run, width);

		run->first_piece = count;
		run->piece_count = 1 +
				   (run->bytes - head_bytes(map, run, piece) + piece - 1) / piece;
		count += run->piece_count;
		map->job.bytes += run->bytes;
	}
	return count;
}

/* Finds the entries that a piece overlaps; @entry and @end are those of the previous piece. */
static void find_entries(const struct map_job *map, struct map_piece *piece, uint64_t begin,
			 size_t *entry, uint64_t *end)
{
	if (*end == begin && begin)
		*end += map->plan.order[++*entry]->bytes;
	piece->first_entry = *entry;
	while (*end < begin + piece->bytes)
		*end += map->plan.order[++*entry]->bytes;
	piece->entry_count = *entry + 1 - piece->first_entry;
}

static void cut_run(struct map_job *map, const struct vfb_plan_run *run, unsigned int width)
{
	const struct vfb_range *range = first_range(map, run);
	uint64_t next = piece_bytes(map, run, width), bytes = head_bytes(map, run, next);
	uint64_t begin = 0, entry_end = range->bytes;
	size_t entry = run->first;

	for (size_t i = 0; i < run->piece_count; i++, begin += bytes, bytes = next) {
		struct map_piece *piece = &map->pieces[run->first_piece + i];

		if (bytes > run->bytes - begin)
			bytes = run->bytes - begin;
		*piece = (struct map_piece){
			.task = {.run = vfb_pipeline_run_piece, .bytes = bytes},
			.owner = map,
			.memory = range->memory,
			.offset = range->offset + begin,
			.bytes = bytes,
			.needed = vfb_range_is_populated_first(map->space, range),
			.node = vfb_memory_node(range->memory, range->offset + begin, i),
		};
		find_entries(map, piece, begin, &entry, &entry_end);
	}
}

/* Where the kernel serializes maps, earlier waves must be mapped before others are populated. */
static void add_waves(struct map_job *map)
{
	const struct vfb_range *before = NULL;

	for (size_t i = 0; i < map->plan.run_count; i++) {
		const struct vfb_range *range = first_range(map, &map->plan.runs[i]);
		bool background = range->flags & VFB_RANGE_BACKGROUND;

		if (!before || background != !!(before->flags & VFB_RANGE_BACKGROUND) ||
		    (map->serial && range->priority != before->priority))
			map->waves[map->wave_count++] = (struct map_wave){.first_run = i,
									  .background = background};
		map->waves[map->wave_count - 1].run_count++;
		before = range;
	}
}

/* Populated huge pages of this size are mapped by file in a few milliseconds. */
#define QUICK_BYTES (16 * GIB)

/* The memory is populated, and mapped by file, which takes as long for a huge page as for a small
 * one. */
static bool is_quick(const struct map_job *map, const struct vfb_plan_run *run)
{
	const struct vfb_range *range = first_range(map, run);
	const struct vfb_memory *memory = range->memory;

	return map->space->iommu->maps_files && memory->fd >= 0 && memory->page_bytes >= 2 * MIB &&
	       vfb_memory_was_populated(memory, range->offset, run->bytes);
}

/*
 * How many pieces may run in parallel. Workers that map by file slow each other down: two took 1.6
 * times as long as one for 3 GiB of pages of 2 MiB (measured, Linux 7.3).
 */
static unsigned int limit_width(const struct map_job *map)
{
	uint64_t enough = 1 + map->job.bytes / QUICK_BYTES;

	for (size_t i = 0; i < map->plan.run_count; i++)
		if (!is_quick(map, &map->plan.runs[i]))
			return map->width;
	return enough < map->width ? enough : map->width;
}

int vfb_map_cut_pieces(struct map_job *map, unsigned int width)
{
	size_t pieces = count_pieces(map, width);

	map->entries = calloc(map->plan.count + 1, sizeof(*map->entries));
	map->waves = calloc(map->plan.run_count + 1, sizeof(*map->waves));
	map->pieces = calloc(pieces + 1, sizeof(*map->pieces));
	if (!map->entries || !map->waves || !map->pieces)
		return vfb_fail_memory();
	for (size_t i = 0; i < map->plan.count; i++)
		map->entries[i].range = map->plan.order[i];
	for (size_t i = 0; i < map->plan.run_count; i++)
		cut_run(map, &map->plan.runs[i], width);
	add_waves(map);
	map->width = limit_width(map);
	return 0;
}

/* Adds a call for the part of a run from @offset to @end. */
static int add_call(struct map_job *map, const struct vfb_plan_run *run, uint64_t offset,
		    uint64_t end, size_t first_entry, size_t entry_count)
{
	const struct vfb_range *range = first_range(map, run);

	for (size_t i = first_entry; i < first_entry + entry_count; i++)
		map->entries[i].calls_left++;
	return vfb_calls_add(&map->calls, &(struct vfb_call){
						  .iova = range->iova + offset,
						  .bytes = end - offset,
						  .memory = range->memory,
						  .offset = range->offset + offset,
						  .flags = range->flags,
						  .first_entry = first_entry,
						  .entry_count = entry_count,
					  });
}

/* The end of a call that begins in a run, within a block. */
static uint64_t call_end(const struct map_job *map, const struct vfb_plan_run *run, uint64_t begin,
			 uint64_t end)
{
	const struct vfb_range *range = first_range(map, run);

	return vfb_space_block_end(map->space, range->memory, range->offset + begin,
				   range->offset + end) -
	       range->offset;
}

/*
 * Adds the calls from @begin to @end of a run: one for each entry, or a single one if neighbours
 * are joined; one for each block, if the space has blocks. @entry is the first entry that overlaps
 * the part, @entry_end the end of that entry.
 */
static int cut_calls_of(struct map_job *map, const struct vfb_plan_run *run, uint64_t begin,
			uint64_t end, size_t *entry, uint64_t *entry_end)
{
	int error = 0;

	while (begin < end && !error) {
		size_t first = *entry;
		uint64_t next = map->joined || *entry_end > end ? end : *entry_end;

		next = call_end(map, run, begin, next);
		while (*entry_end < next)
			*entry_end += map->plan.order[++*entry]->bytes;
		error = add_call(map, run, begin, next, first, *entry + 1 - first);
		if (*entry_end == next && next < run->bytes)
			*entry_end += map->plan.order[++*entry]->bytes;
		begin = next;
	}
	return error;
}

/* The calls of each piece. */
static int cut_run_parallel(struct map_job *map, struct vfb_plan_run *run)
{
	uint64_t entry_end = first_range(map, run)->bytes, begin = 0;
	size_t entry = run->first;
	int error = 0;

	for (size_t i = 0; i < run->piece_count && !error; i++) {
		struct map_piece *piece = &map->pieces[run->first_piece + i];

		piece->first_call = map->calls.count;
		error = cut_calls_of(map, run, begin, begin + piece->bytes, &entry, &entry_end);
		piece->call_count = map->calls.count - piece->first_call;
		begin += piece->bytes;
	}
	return error;
}

/*
 * Parts of a range: so few that a part costs nothing, and so many that the last one, which is
 * mapped when everything is populated, takes little.
 */
#define PARTS	       16
#define MIN_PART_BYTES (64 * MIB)
/* Of the mappings that the kernel has left. */
#define PARTS_SHARE 16

/* The size of the parts in which a run is mapped. They end where pieces do. */
static uint64_t part_bytes(const struct map_job *map, const struct vfb_plan_run *run)
{
	const struct vfb_range *range = first_range(map, run);
	uint64_t piece = run->piece_count > 1 ? map->pieces[run->first_piece + 1].bytes : 0;
	uint64_t part = run->bytes / PARTS;

	/*
	 * Large pages are mapped in a few milliseconds, and pinning them takes mmap_lock for
	 * writing, which stalls populating with few CPUs (vfio_lock_acct()). Who takes over a
	 * memfd's mappings knows ranges only, see vfb_space_adopt_addresses().
	 */
	if (!piece || range->memory->page_size != VFB_PAGE_BASE || range->memory->fd >= 0 ||
	    vfb_memory_was_populated(range->memory, range->offset, run->bytes))
		return run->bytes;
	if (part < MIN_PART_BYTES)
		part = MIN_PART_BYTES;
	return round_up(part, piece);
}

static int cut_run_serial(struct map_job *map, struct vfb_plan_run *run)
{
	uint64_t entry_end = first_range(map, run)->bytes, begin = 0, end, part = run->bytes;
	size_t entry = run->first;
	int error = 0;

	if (map->in_parts)
		part = part_bytes(map, run);
	end = part;
	/* The first piece may be shorter than the others. */
	if (part < run->bytes)
		end -= map->pieces[run->first_piece + 1].bytes -
		       map->pieces[run->first_piece].bytes;
	for (; begin < run->bytes && !error; begin = end, end += part) {
		if (end > run->bytes)
			end = run->bytes;
		error = cut_calls_of(map, run, begin, end, &entry, &entry_end);
	}
	return error;
}

/* Finds the calls that each piece of a run is part of. Both are in the order of the memory. */
static void link_pieces(struct map_job *map, const struct vfb_plan_run *run)
{
	struct vfb_call *calls = map->calls.calls;
	size_t next = run->first_call, end = run->first_call + run->call_count;

	for (size_t i = 0; i < run->piece_count; i++) {
		struct map_piece *piece = &map->pieces[run->first_piece + i];
		uint64_t piece_end = piece->offset + piece->bytes;

		piece->first_call = next;
		for (; next < end && calls[next].offset < piece_end; next++)
			calls[next].pieces_left++;
		piece->call_count = next - piece->first_call;
		/* The next piece is part of the last of them, too. */
		if (calls[next - 1].offset + calls[next - 1].bytes > piece_end)
			next--;
	}
}

static int cut_run_calls(struct map_job *map, struct vfb_plan_run *run)
{
	int error;

	run->first_call = map->calls.count;
	if (vfb_range_has_no_call(map->space, first_range(map, run)))
		return 0;
	error = map->serial ? cut_run_serial(map, run) : cut_run_parallel(map, run);
	run->call_count = map->calls.count - run->first_call;
	if (!error && map->serial)
		link_pieces(map, run);
	return error;
}

/* Whether there are parts, and the kernel has many more mappings left than they take. */
static bool parts_pay(const struct map_job *map)
{
	uint64_t calls = map->plan.count;
	bool found = false;

	for (size_t i = 0; i < map->plan.run_count; i++) {
		const struct vfb_plan_run *run = &map->plan.runs[i];
		uint64_t part = part_bytes(map, run);

		calls += run->bytes / part;
		found = found || part < run->bytes;
	}
	return found && calls <= map->space->entries_left / PARTS_SHARE;
}

int vfb_map_cut_calls(struct map_job *map)
{
	int error = 0;

	map->in_parts = map->serial && !map->joined && parts_pay(map);
	for (size_t i = 0; i < map->plan.run_count && !error; i++)
		error = cut_run_calls(map, &map->plan.runs[i]);
	if (error || !map->serial)
		return error;
	map->ready = calloc(map->calls.count + 1, sizeof(*map->ready));
	return map->ready ? 0 : vfb_fail_memory();
}

void vfb_map_free_plan(struct map_job *map)
{
	for (size_t i = 0; map->entries && i < map->plan.count; i++)
		if (!map->entries[i].placed)
			free(map->entries[i].mapping);
	free(map->entries);
	free(map->pieces);
	free(map->waves);
	free(map->ready);
	vfb_calls_free(&map->calls);
	vfb_plan_free(&map->plan);
}
