/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/pipeline.h"
#include "memory/memory.h"
#include "options.h"

/* What the index says of an entry. Called with the space's lock held. */
static void set_mapping(struct map_job *map, struct entry *entry, enum vfb_mapping_state state,
			bool backed)
{
	struct vfb_mapping *mapping = vfb_index_find(&map->space->index, entry->range->iova);
	const struct part *parts = &map->parts[entry->first_part];

	mapping->state = state;
	mapping->visible = false;
	mapping->backed = backed;
	mapping->joined = entry->joined;
	mapping->entries = 0;
	for (size_t i = 0; i < entry->part_count; i++)
		mapping->entries += parts[i].begins;
	mapping->head = mapping->piece = mapping->bytes;
	/* What was undone in part can only be unmapped as a whole. */
	if (map->serial || entry->range->status)
		return;
	mapping->head = parts->bytes;
	mapping->piece = entry->run->piece_bytes;
}

/* Unmaps what is mapped of parts, the last first. */
static int unmap_parts(struct map_job *map, size_t first_part, size_t end)
{
	int error = 0;

	while (end > first_part && !error) {
		const struct part *last = &map->parts[--end], *first = last;
		unsigned int calls = last->begins;
		uint64_t iova, past;

		if (!last->mapped)
			continue;
		while (end > first_part && map->parts[end - 1].mapped) {
			first = &map->parts[--end];
			calls += first->begins;
		}
		iova = first->entry->range->iova + first->offset;
		past = last->entry->range->iova + last->offset + last->bytes;
		error = vfb_space_unmap_one(map->space, iova, past - iova, calls);
	}
	return error;
}

/*
 * Undoes entries that share mappings of the kernel, or one: they failed, or go because another
 * one did.
 */
static void undo_entries(struct map_job *map, size_t first, size_t end)
{
	const struct entry *last = &map->entries[end - 1];
	int error = unmap_parts(map, map->entries[first].first_part,
				last->first_part + last->part_count);

	pthread_mutex_lock(&map->space->lock);
	for (size_t i = first; i < end; i++) {
		struct entry *entry = &map->entries[i];

		entry->range->status = entry->error ? entry->error : -ECANCELED;
		vfb_pipeline_set_status(map, entry, entry->range->status);
		/* What the kernel would not unmap keeps its IOVAs, so that nobody else gets them.
		 */
		if (entry->placed)
			set_mapping(map, entry, error ? VFB_MAPPING_DONE : VFB_MAPPING_GONE, error);
		if (!error)
			atomic_fetch_sub(&entry->range->memory->users, 1);
	}
	pthread_mutex_unlock(&map->space->lock);
}

/* What was shown before it was decided is not to be found any more when it is undone. */
static void hide_entries(struct map_job *map)
{
	bool hidden = false;

	pthread_mutex_lock(&map->space->lock);
	map->shows = false;
	for (size_t i = map->undecided; i < map->count; i++) {
		struct vfb_mapping *mapping;

		if (!map->entries[i].placed)
			continue;
		mapping = vfb_index_find(&map->space->index, map->entries[i].range->iova);
		hidden = hidden || mapping->visible;
		mapping->visible = false;
	}
	pthread_mutex_unlock(&map->space->lock);
	if (hidden)
		vfb_translator_publish_surely(map->space);
}

/* Decides what becomes of the entries up to @end: they stay, or are undone in reverse. */
static void decide_entries(struct map_job *map, size_t end, bool undo_all)
{
	size_t first = end;

	if (undo_all)
		hide_entries(map);
	while (first > map->undecided) {
		size_t past = first--;

		while (first > map->undecided && map->entries[first - 1].joined)
			first--;
		if (undo_all || map->entries[past - 1].error)
			undo_entries(map, first, past);
	}
	pthread_mutex_lock(&map->space->lock);
	for (size_t i = map->undecided; i < end; i++) {
		struct entry *entry = &map->entries[i];

		if (undo_all || entry->error)
			continue;
		entry->range->status = 0;
		vfb_pipeline_set_status(map, entry, 0);
		if (map->gate == GATE_OPEN)
			set_mapping(map, entry, VFB_MAPPING_DONE, true);
	}
	vfb_index_compact(&map->space->index);
	map->undecided = end;
	pthread_mutex_unlock(&map->space->lock);
	vfb_translator_publish_surely(map->space);
}

static bool in_background(const struct map_job *map, size_t wave)
{
	return wave < map->wave_count && map->waves[wave].background;
}

/*
 * Decides whether the entries up to @end stay. @late: they were to be kept, since there was no
 * device, but one has come meanwhile, and they are being mapped after all. Otherwise what is kept
 * is in the index, in the same moment, for the next device to find.
 */
static bool settle(struct map_job *map, size_t end, bool last, bool *late)
{
	struct vfb_space *space = map->space;
	bool keep = true;

	pthread_mutex_lock(&space->lock);
	*late = map->gate == GATE_KEEP && space->domain && !vfb_job_stopped(&map->job) &&
		!vfb_pipeline_open_late(map);
	if (!*late)
		keep = vfb_job_decide(&map->job, last);
	for (size_t i = map->undecided; i < end && keep && map->gate == GATE_KEEP; i++)
		if (!map->entries[i].error)
			set_mapping(map, &map->entries[i], VFB_MAPPING_DONE, false);
	pthread_mutex_unlock(&space->lock);
	return keep;
}

static bool finish_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);
	struct vfb_span span;
	bool last, keep, late;
	size_t end;

	if (vfb_pipeline_map_wave(map))
		return false;
	/* The first wave in the background begins when all others are decided. */
	if (!vfb_job_stopped(job) && map->wave + 1 < map->wave_count &&
	    in_background(map, map->wave) == in_background(map, map->wave + 1)) {
		vfb_pipeline_next_wave(map);
		return false;
	}
	last = map->wave + 1 >= map->wave_count;
	end = last ? map->count : vfb_wave_entry_end(map, map->wave);
	keep = settle(map, end, last, &late);
	if (late) {
		vfb_pipeline_map_late(map);
		return false;
	}
	vfb_observe_begin(&span, &job->ctx->observer, VFB_PHASE_PUBLISH);
	decide_entries(map, keep ? end : map->count, !keep);
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

/* Whoever has waited for an entry can translate it, though others may not be mapped yet. */
static void map_show_entry(struct vfb_job *job, size_t number)
{
	struct map_job *map = container_of(job, struct map_job, job);
	struct vfb_space *space = map->space;
	bool shown = false;

	pthread_mutex_lock(&space->lock);
	for (size_t i = map->undecided; i < map->count && map->shows && !shown; i++) {
		struct entry *entry = &map->entries[i];

		shown = entry->range == &map->ranges[number] && entry->placed;
		if (shown)
			vfb_index_find(&space->index, entry->range->iova)->visible = true;
	}
	pthread_mutex_unlock(&space->lock);
	if (shown)
		vfb_translator_publish_surely(space);
}

static void free_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);

	pthread_mutex_destroy(&map->lock);
	vfb_pipeline_free_cut(map);
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

static int allocate_job(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			const struct vfb_batch_opts *opts, struct map_job **out)
{
	struct map_job *map = calloc(1, sizeof(*map));
	int error;

	if (!map)
		return vfb_fail_memory();
	map->shows = true;
	map->space = space;
	map->ranges = ranges;
	map->width = opts->width ? opts->width : UINT_MAX;
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

static void note_failure(void *arg, int error)
{
	struct map_job *map = arg;

	vfb_job_fail(&map->job, error, false);
}

/* With the space's lock held: plans the batch and takes its IOVAs, last. */
static int plan(struct map_job *map, unsigned int width, bool *skip)
{
	struct vfb_space *space = map->space;
	int error;

	if (space->released)
		return vfb_fail(-EBUSY, "the addresses of the space were released: what is mapped "
					"is another process's");
	error = vfb_plan_make(&map->plan, space, map->ranges, map->job.entries, skip,
			      map->best_effort ? note_failure : NULL, map);
	if (!error && !map->best_effort)
		error = vfb_plan_check_memlock(&map->plan, space);
	if (!error)
		error = vfb_pipeline_cut(map, width);
	if (!error && map->wave_count && map->waves[map->wave_count - 1].background)
		error = vfb_job_has_background(&map->job);
	if (!error)
		error = vfb_plan_take(&map->plan, space);
	return error;
}

/* Everything before the first piece is submitted; on failure nothing has happened. */
static int prepare(struct map_job *map, unsigned int width)
{
	struct vfb_space *space = map->space;
	bool *skip = calloc(map->job.entries + 1, sizeof(*skip));
	int error;

	if (!skip)
		return vfb_fail_memory();
	for (size_t i = 0; i < map->job.entries; i++)
		map->ranges[i].status = -ECANCELED;
	pthread_mutex_lock(&space->lock);
	error = plan(map, width, skip);
	if (!error)
		space->jobs++;
	pthread_mutex_unlock(&space->lock);
	free(skip);
	if (error)
		return error;
	for (size_t i = 0; i < map->job.entries; i++)
		map->statuses[i] = map->ranges[i].status;
	for (size_t i = 0; i < map->count; i++) {
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
	error = vfb_batch_opts_read(&known, opts);
	if (!error)
		error = vfb_space_look_for_domain(space);
	if (!error)
		error = allocate_job(space, ranges, count, &known, &map);
	if (error)
		return error;
	error = vfb_job_set_timeout(&map->job, known.timeout_ns);
	if (!error)
		error = prepare(map, known.width);
	if (error) {
		vfb_job_fini(&map->job);
		free_map(&map->job);
		return error;
	}
	*out = &map->job;
	vfb_pipeline_start(map);
	return 0;
}

int vfb_space_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		  const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	return vfb_job_sync(job, vfb_space_map_start(space, ranges, count, opts, &job));
}
