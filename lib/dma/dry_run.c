/* SPDX-License-Identifier: MIT */
/* What mapping a batch would take, without mapping. */
#include <errno.h>
#include <stdlib.h>

#include "dma/pipeline.h"
#include "dma/range.h"
#include "dma/rates.h"
#include "memory/memory.h"
#include "options.h"

static uint64_t populate_bytes(const struct map_job *map, const struct vfb_plan_run *run)
{
	uint64_t bytes = 0;

	for (size_t n = 0; n < run->piece_count; n++) {
		const struct map_piece *piece = &map->pieces[run->first_piece + n];

		if (piece->needed &&
		    !vfb_memory_was_populated(piece->memory, piece->offset, piece->bytes))
			bytes += piece->bytes;
	}
	return bytes;
}

/* Adds the time for @bytes; without a measurement the sum is unknown. */
static void add_time(uint64_t *ns, uint64_t bytes, double ns_per_gib)
{
	if (!bytes || *ns == UINT64_MAX)
		return;
	*ns = ns_per_gib > 0 ? *ns + (uint64_t)(ns_per_gib * bytes / GIB) : UINT64_MAX;
}

/* Estimates the runs from the measurements of the context. Regions of devices are not memory. */
static void estimate(const struct map_job *map, struct vfb_map_plan *plan)
{
	enum vfb_backend backend = map->space->iommu->ops->backend;

	for (size_t i = 0; i < map->plan.run_count; i++) {
		const struct vfb_plan_run *run = &map->plan.runs[i];
		const struct vfb_memory *memory = map->plan.order[run->first]->memory;
		uint64_t populate = populate_bytes(map, run);
		struct vfb_rate rate;

		const struct vfb_range *range = map->plan.order[run->first];
		bool has_no_call = vfb_range_has_no_call(map->space, range);

		plan->populate_bytes += populate;
		if (has_no_call)
			plan->bytes -= run->bytes;
		if (range->flags & VFB_RANGE_HOST_ONLY)
			plan->host_only_bytes += run->bytes;
		if (memory->region)
			continue;
		rate = vfb_rates_get(map->space->ctx->rates, memory->page_size);
		add_time(&plan->populate_ns, populate, rate.populate);
		if (backend != VFB_BACKEND_NONE && !has_no_call)
			add_time(&plan->map_ns, run->bytes, rate.map[backend]);
	}
}

static int plan_dry_locked(struct map_job *map, const struct vfb_batch_opts *opts, bool *skip,
			   const struct vfb_memlock *memlock)
{
	struct vfb_space *space = map->space;
	int error;

	error = vfb_plan_make_locked(&map->plan, space, map->ranges, map->job.entries, skip, NULL,
				     NULL);
	for (size_t i = 0; i < map->plan.count && !error; i++) {
		struct vfb_range *range = map->plan.order[i];

		error = vfb_range_check_domain_locked(space, range, range - map->ranges);
		if (error)
			range->status = error;
	}
	if (!error)
		error = vfb_plan_check_memlock(&map->plan, space, memlock);
	if (!error && map->serial)
		error = vfb_plan_check_entries_locked(&map->plan, space, &map->joined);
	if (!error)
		error = vfb_map_cut_pieces(map, opts->width);
	return error ? error : vfb_map_cut_calls(map);
}

static struct vfb_map_plan describe(const struct map_job *map)
{
	struct vfb_map_plan plan = {
		.bytes = map->job.bytes,
		.map_calls = map->calls.count,
		.flags = map->joined ? VFB_MAP_PLAN_COALESCED : 0,
	};

	estimate(map, &plan);
	return plan;
}

int vfb_space_map_plan(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		       const struct vfb_batch_opts *opts, struct vfb_map_plan *out)
{
	struct map_job map = {.space = space, .ranges = ranges, .job.entries = count};
	bool *skip;
	struct vfb_batch_opts known;
	struct vfb_memlock memlock;
	struct vfb_map_plan result;
	int error;

	error = vfb_batch_read(&known, opts, ranges, count);
	if (error)
		return error;
	skip = calloc(count + 1, sizeof(*skip));
	if (!skip)
		return vfb_fail_memory();
	map.serial = !space->iommu->ops->parallel;
	map.joined = known.flags & VFB_BATCH_COALESCE;
	for (size_t i = 0; i < count; i++)
		ranges[i].status = 0;
	vfb_memlock_read(space, &memlock);
	pthread_mutex_lock(&space->lock);
	error = plan_dry_locked(&map, &known, skip, &memlock);
	result = describe(&map);
	result.entries_left = space->entries_left;
	pthread_mutex_unlock(&space->lock);
	vfb_map_free_plan(&map);
	free(skip);
	return error ? error : vfb_struct_write(out, &result, sizeof(result));
}
