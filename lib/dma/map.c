/* SPDX-License-Identifier: MIT */
/* The short way of a map, without job, plan or worker: for a vIOMMU and virtio-mem, which map often
 * and little. */
#include "dma/map.h"

#include <errno.h>
#include <stdlib.h>

#include "dma/range.h"
#include "engine/job.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

/* The kernel populates so much within the map call sooner than one can ask it for what is absent.
 */
#define UNASKED_BYTES (64 * KIB)

/* Ranges that are being mapped, and their mappings in the index, or NULL. */
struct here {
	struct vfb_space *space;
	struct vfb_range *ranges;
	size_t count;
	struct vfb_mapping **mappings;
	/* A job may map them instead: without a domain, or when neighbours must be joined since the
	 * kernel has too few mappings left. Set by place_ranges() when it has placed none. */
	bool may_use_job, needs_job;
};

static int fail_overlap(const struct here *here, size_t entry, const struct vfb_mapping *other)
{
	bool own = false;

	for (size_t i = 0; i < here->count; i++)
		own = own || here->mappings[i] == other;
	return vfb_range_overlaps(&here->ranges[entry], entry,
				  own ? "another entry" : "what is mapped", other->at.iova);
}

/* Reserves the IOVAs of a range. */
static int place_range_locked(struct here *here, size_t entry)
{
	struct vfb_range *range = &here->ranges[entry];
	struct vfb_mapping *mapping, *other;
	int error;

	error = vfb_range_check_domain_locked(here->space, range, entry);
	if (!error)
		error = vfb_range_check_held_locked(here->space, range, entry);
	if (!error && range->flags & VFB_RANGE_ANY_IOVA)
		error = vfb_range_find_gap_locked(here->space, range, entry);
	if (error)
		return error;
	mapping = vfb_range_mapping(here->space, range);
	if (!mapping)
		return vfb_fail_memory();
	other = vfb_index_add(&here->space->index, mapping);
	if (other) {
		vfb_mapping_free(mapping);
		return fail_overlap(here, entry, other);
	}
	here->mappings[entry] = mapping;
	atomic_fetch_add(&range->memory->users, 1);
	return 0;
}

static uint64_t here_count_calls(const struct here *here)
{
	uint64_t count = 0;

	for (size_t i = 0; i < here->count; i++) {
		const struct vfb_range *range = &here->ranges[i];

		count += vfb_space_count_blocks(here->space, range->memory, range->offset,
						range->bytes);
	}
	return count;
}

/* Checks all ranges, and places those with fixed IOVAs before the others. @domain: there is one. */
static int place_ranges(struct here *here, bool *domain)
{
	struct vfb_space *space = here->space;
	size_t entry = 0;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	*domain = space->domain;
	here->needs_job = here->may_use_job &&
			  (!space->domain || space->entries_left < here_count_calls(here));
	if (here->needs_job) {
		pthread_mutex_unlock(&space->lock);
		return 0;
	}
	for (size_t i = 0; i < here->count; i++)
		here->ranges[i].status = -ECANCELED;
	if (space->released)
		error = vfb_fail(-EBUSY, "the addresses of the space were released: another "
					 "process owns its mappings");
	for (size_t i = 0; i < here->count && !error; i++)
		error = vfb_range_check(space, &here->ranges[entry = i], i);
	for (size_t i = 0; i < 2 * here->count && !error; i++) {
		entry = i % here->count;
		if (!!(here->ranges[entry].flags & VFB_RANGE_ANY_IOVA) == (i >= here->count))
			error = place_range_locked(here, entry);
	}
	if (error && !space->released)
		here->ranges[entry].status = error;
	/* A job keeps the domain from being lost. */
	space->jobs++;
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Keeps the placed ranges, or frees their IOVAs unless the kernel still has them. The end. */
static void settle_ranges(struct here *here, bool keep)
{
	struct vfb_space *space = here->space;

	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < here->count; i++) {
		struct vfb_mapping *mapping = here->mappings[i];

		if (!mapping)
			continue;
		if (keep)
			here->ranges[i].status = 0;
		if (keep ||
		    vfb_index_has_extents(&space->index, mapping->at.iova, mapping->at.bytes))
			vfb_index_set_state(&space->index, mapping, VFB_MAPPING_DONE, false);
		else
			vfb_space_remove_mapping_locked(space, mapping);
	}
	vfb_space_job_end_unlock(space, true);
}

static bool range_is_populated(const struct vfb_range *range)
{
	if (range->bytes <= UNASKED_BYTES)
		return vfb_memory_was_populated(range->memory, range->offset, range->bytes);
	return vfb_memory_is_populated(range->memory, range->offset, range->bytes);
}

static int map_blocks(struct vfb_space *space, const struct vfb_range *range)
{
	uint64_t end = range->offset + range->bytes, next;
	int error = 0;

	for (uint64_t at = range->offset; at < end && !error; at = next) {
		next = vfb_space_block_end(space, range->memory, at, end);
		error = vfb_space_map_one(space, range->memory, at, next - at,
					  range->iova + (at - range->offset), range->flags);
	}
	return error;
}

static int map_ranges(struct here *here)
{
	int error = 0;

	for (size_t i = 0; i < here->count && !error; i++) {
		struct vfb_range *range = &here->ranges[i];
		struct vfb_memory *memory = range->memory;

		if (vfb_range_is_populated_first(here->space, range) && !range_is_populated(range))
			error = vfb_memory_populate_range(memory, range->offset, range->bytes,
							  VFB_ANY_NODE, NULL);
		if (!error && !vfb_range_has_no_call(here->space, range))
			error = map_blocks(here->space, range);
		if (error)
			range->status = error;
	}
	return error;
}

/* Unmaps the ranges that were mapped, and keeps the error text of the cause. */
static void unmap_ranges(struct here *here)
{
	char text[VFB_ERROR_BYTES];

	vfb_error_save(text);
	for (size_t i = here->count; i-- > 0;)
		vfb_space_unmap_area(here->space, here->ranges[i].iova, here->ranges[i].bytes);
	vfb_error_restore(text);
}

/* @here: with an array for the mappings. */
static int map_here(struct here *here)
{
	bool domain;
	int error = place_ranges(here, &domain);

	if (here->needs_job)
		return 0;
	if (!error && domain) {
		error = map_ranges(here);
		if (error)
			unmap_ranges(here);
	}
	settle_ranges(here, !error);
	return error;
}

int vfb_map_here(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	struct here here = {.space = space, .ranges = ranges, .count = count};
	int error;

	here.mappings = calloc(count + 1, sizeof(*here.mappings));
	if (!here.mappings)
		return vfb_fail_memory();
	error = map_here(&here);
	free(here.mappings);
	return error;
}

/* Workers of a node populate memory that is bound to it, unless it is so little that waking one
 * takes longer. */
static bool node_must_populate(const struct vfb_range *range)
{
	return range->bytes > UNASKED_BYTES &&
	       !vfb_memory_was_populated(range->memory, range->offset, range->bytes) &&
	       vfb_memory_wants_worker(range->memory, range->offset);
}

/* Whether one thread maps the ranges as fast as several would. */
static bool ranges_fit_here(const struct vfb_range *ranges, size_t count)
{
	uint64_t bytes = 0;

	if (!ranges || count > VFB_HERE_RANGES)
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct vfb_range *range = &ranges[i];

		bytes += range->bytes;
		if (!range->memory || range->bytes > VFB_HERE_BYTES || bytes > VFB_HERE_BYTES)
			return false;
		/* Refused later, with a text. */
		if (range->offset > range->memory->bytes ||
		    range->bytes > range->memory->bytes - range->offset)
			return false;
		if (node_must_populate(range))
			return false;
	}
	return true;
}

int vfb_space_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		  const struct vfb_batch_opts *opts)
{
	int error = vfb_observer_check_process(&space->ctx->observer);
	struct vfb_batch_opts known;
	struct vfb_job *job;

	if (!error)
		error = vfb_batch_read(&known, opts, ranges, count);
	if (error)
		return error;
	if (!known.flags && !known.timeout_ns && ranges_fit_here(ranges, count)) {
		struct vfb_mapping *mappings[VFB_HERE_RANGES] = {NULL};
		struct here here = {space, ranges, count, mappings, .may_use_job = true};

		error = vfb_observe_check_wait() ?: map_here(&here);
		if (error || !here.needs_job)
			return error;
	}
	return vfb_job_sync(job, vfb_space_map_start(space, ranges, count, opts, &job));
}
