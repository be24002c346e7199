/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/pipeline.h"
#include "dma/range.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

static void mapping_done_locked(struct map_job *map, struct vfb_mapping *mapping)
{
	vfb_index_set_state(&map->space->index, mapping, VFB_MAPPING_DONE, false);
	mapping->owner = NULL;
}

/* Keeps an entry. */
static void keep_entry_locked(struct map_job *map, struct map_entry *entry)
{
	entry->range->status = 0;
	vfb_pipeline_set_status(map, entry, 0);
	/* No call has counted it. */
	if (vfb_range_has_no_call(map->space, entry->range))
		atomic_fetch_add(&map->job.entries_done, 1);
	if (map->gate == GATE_OPEN)
		mapping_done_locked(map, entry->mapping);
}

/* Drops an entry. If the kernel did not unmap it, its IOVAs remain reserved. */
static void drop_entry_locked(struct map_job *map, struct map_entry *entry, bool stuck)
{
	struct vfb_memory *memory = entry->range->memory;

	entry->range->status = entry->error ? entry->error : -ECANCELED;
	vfb_pipeline_set_status(map, entry, entry->range->status);
	if (stuck) {
		mapping_done_locked(map, entry->mapping);
		return;
	}
	if (entry->placed)
		vfb_index_remove(&map->space->index, entry->mapping);
	else
		vfb_mapping_free(entry->mapping);
	entry->mapping = NULL;
	entry->placed = false;
	atomic_fetch_sub(&memory->users, 1);
}

/* Undoes adjacent entries. */
static void undo_entries(struct map_job *map, size_t first, size_t count)
{
	const struct vfb_range *range = map->entries[first].range;
	uint64_t bytes = 0;
	int error = 0;

	for (size_t i = first; i < first + count; i++)
		bytes += map->entries[i].range->bytes;
	if (map->entries[first].placed)
		error = vfb_space_unmap_area(map->space, range->iova, bytes);
	pthread_mutex_lock(&map->space->lock);
	for (size_t i = first; i < first + count; i++)
		drop_entry_locked(map, &map->entries[i], error);
	pthread_mutex_unlock(&map->space->lock);
}

/* Joined entries fail together, since one call may map several. Returns their error. */
static int join_errors(struct map_job *map, const struct vfb_plan_run *run)
{
	struct map_entry *entries = &map->entries[run->first];
	int error = 0;

	for (size_t i = 0; i < run->count && !error; i++)
		error = entries[i].error;
	for (size_t i = 0; i < run->count; i++)
		entries[i].error = entries[i].error ?: error;
	return error;
}

/* Undoes the failed entries of a run, or all of them, last first; joined ones as a whole. */
static void undo_run(struct map_job *map, const struct vfb_plan_run *run, bool all)
{
	if (map->joined) {
		if (join_errors(map, run) || all)
			undo_entries(map, run->first, run->count);
		return;
	}
	for (size_t i = run->first + run->count; i-- > run->first;)
		if (all || map->entries[i].error)
			undo_entries(map, i, 1);
}

/* The first entry of the runs that are not decided. */
static size_t first_undecided(const struct map_job *map)
{
	return map->undecided < map->plan.run_count ? map->plan.runs[map->undecided].first :
						      map->plan.count;
}

/* Entries that were made visible before they were decided must not be found once undone. */
static void hide_entries(struct map_job *map)
{
	bool hidden = false;

	pthread_mutex_lock(&map->space->lock);
	for (size_t i = first_undecided(map); i < map->plan.count; i++) {
		struct vfb_mapping *mapping = map->entries[i].mapping;

		hidden = hidden || mapping->visible;
		vfb_index_set_state(&map->space->index, mapping, mapping->state, false);
		/* Nor may it become visible from now on. */
		mapping->owner = NULL;
	}
	pthread_mutex_unlock(&map->space->lock);
	if (hidden)
		vfb_translator_publish_nofail(map->space);
}

/* Decides the runs up to @end: keeps them, or undoes them in reverse order. */
static void decide_runs(struct map_job *map, size_t end, bool undo_all)
{
	size_t last;

	if (undo_all)
		hide_entries(map);
	for (size_t i = end; i-- > map->undecided;)
		undo_run(map, &map->plan.runs[i], undo_all);
	pthread_mutex_lock(&map->space->lock);
	last = end < map->plan.run_count ? map->plan.runs[end].first : map->plan.count;
	for (size_t i = first_undecided(map); i < last && !undo_all; i++)
		if (!map->entries[i].error)
			keep_entry_locked(map, &map->entries[i]);
	map->undecided = end;
	pthread_mutex_unlock(&map->space->lock);
	vfb_translator_publish_nofail(map->space);
}

static bool in_background(const struct map_job *map, size_t wave)
{
	return wave < map->wave_count && map->waves[wave].background;
}

/* Kept ranges wait in the index for the next device. */
static void keep_for_device_locked(struct map_job *map, size_t end_run)
{
	size_t end = end_run < map->plan.run_count ? map->plan.runs[end_run].first :
						     map->plan.count;

	for (size_t i = first_undecided(map); i < end; i++)
		if (!map->entries[i].error && map->entries[i].placed)
			mapping_done_locked(map, map->entries[i].mapping);
}

/*
 * Decides whether the runs up to @end are kept. @late: they were to be kept for the first device,
 * but one has appeared in the meantime, so that they are mapped now. Otherwise kept ranges enter
 * the index at the same moment.
 */
static bool settle_map(struct map_job *map, size_t end, bool last, bool *late)
{
	struct vfb_space *space = map->space;
	bool keep = true;

	pthread_mutex_lock(&space->lock);
	*late = map->gate == GATE_KEEP && space->domain && !vfb_job_stopped(&map->job) &&
		!vfb_pipeline_open_late_locked(map);
	if (!*late)
		keep = vfb_job_decide(&map->job, last);
	if (!*late && keep && map->gate == GATE_KEEP)
		keep_for_device_locked(map, end);
	pthread_mutex_unlock(&space->lock);
	return keep;
}

static bool finish_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);
	struct vfb_span span;
	bool last, keep, late;
	size_t end;

	if (vfb_pipeline_map_ready(map))
		return false;
	/* The background begins when all other waves are decided. */
	if (!vfb_job_stopped(job) && map->wave + 1 < map->wave_count &&
	    in_background(map, map->wave) == in_background(map, map->wave + 1)) {
		vfb_pipeline_next_wave(map);
		return false;
	}
	last = map->wave + 1 >= map->wave_count;
	end = last ? map->plan.run_count : vfb_map_wave_end(map, map->wave);
	keep = settle_map(map, end, last, &late);
	if (late) {
		vfb_pipeline_map_late(map);
		return false;
	}
	vfb_observe_begin(&span, &job->ctx->observer, VFB_PHASE_PUBLISH);
	decide_runs(map, keep ? end : map->plan.run_count, !keep);
	vfb_observe_end(&span, .operation = "map", .bytes = job->bytes, .node = VFB_ANY_NODE);
	if (keep && !last) {
		vfb_job_announce_ready(job);
		vfb_pipeline_next_wave(map);
		return false;
	}
	vfb_space_job_end(map->space);
	return true;
}

static int map_entry_status(struct vfb_job *job, size_t entry)
{
	struct map_job *map = container_of(job, struct map_job, job);
	int status;

	pthread_mutex_lock(&map->lock);
	status = map->statuses[entry];
	pthread_mutex_unlock(&map->lock);
	return status;
}

/* A caller that has waited for an entry can translate it, even if others are not mapped yet. */
static void map_show_entry(struct vfb_job *job, size_t number)
{
	struct map_job *map = container_of(job, struct map_job, job);
	struct vfb_space *space = map->space;
	struct vfb_mapping *mapping;
	bool shown;

	pthread_mutex_lock(&space->lock);
	mapping = vfb_index_find(&space->index, map->ranges[number].iova);
	shown = mapping && mapping->owner == job;
	if (shown)
		vfb_index_set_state(&space->index, mapping, mapping->state, true);
	pthread_mutex_unlock(&space->lock);
	if (shown)
		vfb_translator_publish_nofail(space);
}

static void free_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);

	pthread_mutex_destroy(&map->lock);
	vfb_map_free_plan(map);
	free(map->statuses);
	free(map);
}

static const struct vfb_job_ops map_ops = {
	.operation = "map",
	.cancellable = true,
	.finish = finish_map,
	.free = free_map,
	.entry_status = map_entry_status,
	.show_entry = map_show_entry,
};

static int allocate_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			const struct vfb_batch_opts *opts, struct map_job **out)
{
	struct map_job *map = calloc(1, sizeof(*map));
	int error;

	if (!map)
		return vfb_fail_memory();
	map->space = map->calls.space = space;
	map->ranges = ranges;
	map->width = opts->width ? opts->width : UINT_MAX;
	map->priority = opts->priority;
	map->best_effort = opts->flags & VFB_BATCH_BEST_EFFORT;
	map->joined = opts->flags & VFB_BATCH_COALESCE;
	map->serial = !space->iommu->ops->parallel;
	pthread_mutex_init(&map->lock, NULL);
	map->statuses = calloc(count + 1, sizeof(*map->statuses));
	error = map->statuses ? vfb_job_init(&map->job, &map_ops, space->ctx, count) :
				vfb_fail_memory();
	if (error) {
		free_map(&map->job);
		return error;
	}
	*out = map;
	return 0;
}

static void note_refusal(void *arg, int error)
{
	struct map_job *map = arg;

	vfb_job_fail(&map->job, error, false);
}

/* Creates the mappings of all entries. Those with fixed IOVAs, which are free, reserve them. */
static int add_mappings_locked(struct map_job *map)
{
	for (size_t i = 0; i < map->plan.count; i++) {
		map->entries[i].mapping = vfb_range_mapping(map->space, map->entries[i].range);
		if (!map->entries[i].mapping)
			return vfb_fail_memory();
		map->entries[i].mapping->owner = &map->job;
	}
	for (size_t i = 0; i < map->plan.count; i++)
		if (vfb_range_has_iova(map->entries[i].range)) {
			vfb_index_add(&map->space->index, map->entries[i].mapping);
			map->entries[i].placed = true;
		}
	return 0;
}

static int plan_map_locked(struct map_job *map, unsigned int width, bool *skip,
			   const struct vfb_memlock *memlock)
{
	struct vfb_space *space = map->space;
	int error;

	if (space->released)
		return vfb_fail(-EBUSY, "the addresses of the space were released: another process "
					"owns its mappings");
	error = vfb_plan_make_locked(&map->plan, space, map->ranges, map->job.entries, skip,
				     map->best_effort ? note_refusal : NULL, map);
	if (!error && !map->best_effort)
		error = vfb_plan_check_memlock(&map->plan, space, memlock);
	if (!error)
		error = vfb_map_cut_pieces(map, width);
	if (!error && map->wave_count && map->waves[map->wave_count - 1].background)
		error = vfb_job_has_background(&map->job);
	return error ? error : add_mappings_locked(map);
}

/* Prepares the job up to submitting the first piece. On failure nothing has changed. */
static int prepare_map(struct map_job *map, unsigned int width)
{
	struct vfb_space *space = map->space;
	bool *skip = calloc(map->job.entries + 1, sizeof(*skip));
	struct vfb_memlock memlock;
	int error;

	if (!skip)
		return vfb_fail_memory();
	error = map->best_effort ? 0 : vfb_ranges_check_room(space, map->ranges, map->job.entries);
	if (error) {
		free(skip);
		return error;
	}
	vfb_memlock_read(space, &memlock);
	for (size_t i = 0; i < map->job.entries; i++)
		map->ranges[i].status = -ECANCELED;
	pthread_mutex_lock(&space->lock);
	error = plan_map_locked(map, width, skip, &memlock);
	if (!error)
		space->jobs++;
	pthread_mutex_unlock(&space->lock);
	free(skip);
	if (error)
		return error;
	for (size_t i = 0; i < map->job.entries; i++)
		map->statuses[i] = map->ranges[i].status;
	for (size_t i = 0; i < map->plan.count; i++) {
		atomic_fetch_add(&map->entries[i].range->memory->users, 1);
		vfb_pipeline_set_status(map, &map->entries[i], -EINPROGRESS);
	}
	return 0;
}

int vfb_space_map_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct map_job *map = NULL;
	int error;

	*out = NULL;
	error = vfb_observer_check_process(&space->ctx->observer);
	if (!error)
		error = vfb_batch_read(&known, opts, ranges, count);
	if (!error)
		error = vfb_space_look_for_domain(space);
	if (!error)
		error = allocate_map(space, ranges, count, &known, &map);
	if (error)
		return error;
	error = vfb_job_set_timeout(&map->job, known.timeout_ns);
	if (!error)
		error = prepare_map(map, known.width);
	if (error) {
		vfb_job_fini(&map->job);
		free_map(&map->job);
		return error;
	}
	*out = &map->job;
	vfb_pipeline_start(map);
	return 0;
}
