/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/pipeline.h"
#include "dma/plan.h"
#include "memory/memory.h"

/* Unmaps what of an entry is mapped, the last run first. */
static int unmap_entry(struct map_job *map, struct entry *entry)
{
	size_t last = entry->piece_count;
	int error = 0;

	while (last && !error) {
		size_t first = --last;

		if (entry->pieces[first].state != PIECE_MAPPED)
			continue;
		while (first && entry->pieces[first - 1].state == PIECE_MAPPED)
			first--;
		error = vfb_space_unmap_one(map->space,
					    entry->range->iova + entry->pieces[first].offset,
					    entry->pieces[last].offset + entry->pieces[last].bytes -
						    entry->pieces[first].offset,
					    entry->calls);
		last = first;
	}
	return error;
}

/* What the index says of an entry that is decided; @backed: the kernel has it, or some of it. */
static void set_mapping(struct map_job *map, struct entry *entry, enum vfb_mapping_state state,
			bool backed)
{
	struct vfb_space *space = map->space;
	struct vfb_mapping *mapping;

	pthread_mutex_lock(&space->lock);
	mapping = vfb_index_find(&space->index, entry->range->iova);
	mapping->state = state;
	mapping->backed = backed;
	mapping->entries = entry->calls;
	/* What was undone in part can only be unmapped as a whole. */
	mapping->piece = map->serial || entry->range->status ? mapping->bytes : entry->piece_bytes;
	pthread_mutex_unlock(&space->lock);
}

/* An entry failed, or goes because another one did. */
static void undo_entry(struct map_job *map, struct entry *entry)
{
	int error = unmap_entry(map, entry);

	entry->range->status = entry->error ? entry->error : -ECANCELED;
	/* What the kernel would not unmap keeps its IOVAs, so that nobody else gets them. */
	if (entry->placed)
		set_mapping(map, entry, error ? VFB_MAPPING_DONE : VFB_MAPPING_GONE, error);
	if (!error && entry->range->memory)
		atomic_fetch_sub(&entry->range->memory->users, 1);
}

static void keep_entry(struct map_job *map, struct entry *entry)
{
	entry->range->status = 0;
	set_mapping(map, entry, VFB_MAPPING_DONE, true);
}

static bool finish_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);
	struct vfb_span span;
	bool undo_all;

	if (!vfb_pipeline_is_done(map))
		return false;
	undo_all = vfb_job_settle(job) && vfb_job_stopped(job);

	vfb_observe_begin(&span, job->observer, VFB_PHASE_PUBLISH);
	for (size_t i = map->count; i-- > 0;) {
		if (undo_all || map->entries[i].error)
			undo_entry(map, &map->entries[i]);
		else
			keep_entry(map, &map->entries[i]);
	}
	pthread_mutex_lock(&map->space->lock);
	vfb_index_compact(&map->space->index);
	pthread_mutex_unlock(&map->space->lock);
	vfb_observe_end(&span, .operation = "map", .bytes = job->bytes, .node = VFB_ANY_NODE);
	vfb_space_job_end(map->space);
	return true;
}

static void free_map(struct vfb_job *job)
{
	struct map_job *map = container_of(job, struct map_job, job);

	pthread_mutex_destroy(&map->lock);
	free(map->entries);
	free(map->pieces);
	free(map);
}

static int allocate_job(struct vfb_space *space, size_t count, const struct vfb_batch_opts *opts,
			struct map_job **out)
{
	struct map_job *map = calloc(1, sizeof(*map));
	int error;

	if (!map)
		return vfb_fail_memory();
	map->job.sys = space->ctx->sys;
	map->job.observer = &space->ctx->observer;
	map->job.operation = "map";
	map->job.finish = finish_map;
	map->job.free = free_map;
	map->job.entries = count;
	map->job.cancellable = true;
	map->space = space;
	map->count = count;
	map->width = opts->width ? opts->width : UINT_MAX;
	map->best_effort = opts->flags & VFB_BATCH_BEST_EFFORT;
	map->serial = !space->iommu->ops->parallel;
	pthread_mutex_init(&map->lock, NULL);
	map->entries = calloc(count + 1, sizeof(*map->entries));
	error = map->entries ? vfb_job_init(&map->job, &space->ctx->objects) : vfb_fail_memory();
	if (error) {
		free_map(&map->job);
		return error;
	}
	*out = map;
	return 0;
}

/* Checks the entries by themselves, and takes the IOVAs of those that bring theirs. */
static int check_entries(struct map_job *map, struct vfb_range *ranges, bool *skip)
{
	size_t culprit;
	int error;

	for (size_t i = 0; i < map->count; i++) {
		map->entries[i].range = &ranges[i];
		error = vfb_plan_check(map->space, &ranges[i], i);
		if (error && !map->best_effort) {
			ranges[i].status = error;
			return error;
		}
		if (error)
			vfb_job_fail(&map->job, error, false);
		map->entries[i].error = error;
		skip[i] = error;
	}
	while ((error = vfb_plan_take_fixed(map->space, ranges, map->count, skip, &culprit))) {
		if (error != -EEXIST || !map->best_effort) {
			ranges[culprit].status = error;
			return error;
		}
		vfb_job_fail(&map->job, error, false);
		map->entries[culprit].error = error;
		skip[culprit] = true;
	}
	for (size_t i = 0; i < map->count; i++)
		map->entries[i].placed = !skip[i] && !(ranges[i].flags & VFB_RANGE_ANY_IOVA);
	return 0;
}

static void add_piece(struct map_job *map, struct entry *entry, struct piece *piece,
		      uint64_t offset)
{
	uint64_t left = entry->range->bytes - offset;

	*piece = (struct piece){
		.task = {.run = vfb_pipeline_run_piece, .span = map->job.span.id},
		.owner = map,
		.entry = entry,
		.offset = offset,
		.bytes = left < entry->piece_bytes ? left : entry->piece_bytes,
		.node = vfb_memory_node(entry->range->memory, offset / entry->piece_bytes),
	};
}

/* Cuts the entries into pieces. */
static int make_pieces(struct map_job *map, unsigned int width)
{
	size_t count = 0;
	struct piece **link = &map->todo;

	for (size_t i = 0; i < map->count; i++) {
		struct entry *entry = &map->entries[i];

		if (entry->error)
			continue;
		entry->piece_bytes = vfb_memory_piece_bytes(entry->range->memory,
							    entry->range->offset,
							    entry->range->bytes, width);
		entry->piece_count = (entry->range->bytes + entry->piece_bytes - 1) /
				     entry->piece_bytes;
		count += entry->piece_count;
		map->job.bytes += entry->range->bytes;
	}
	map->pieces = calloc(count + 1, sizeof(*map->pieces));
	if (!map->pieces)
		return vfb_fail_memory();
	count = 0;
	for (size_t i = 0; i < map->count; i++) {
		struct entry *entry = &map->entries[i];

		entry->pieces = &map->pieces[count];
		for (size_t n = 0; n < entry->piece_count; n++) {
			struct piece *piece = &map->pieces[count++];

			add_piece(map, entry, piece, n * entry->piece_bytes);
			*link = piece;
			link = &piece->next;
		}
	}
	return 0;
}

/* Everything before the first piece is submitted; on failure nothing has happened. */
static int prepare(struct map_job *map, struct vfb_range *ranges, unsigned int width)
{
	struct vfb_space *space = map->space;
	bool *skip = calloc(map->count + 1, sizeof(*skip));
	int error;

	if (!skip)
		return vfb_fail_memory();
	for (size_t i = 0; i < map->count; i++)
		ranges[i].status = -ECANCELED;
	error = check_entries(map, ranges, skip);
	free(skip);
	if (error)
		return error;
	error = make_pieces(map, width);
	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < map->count && error; i++)
		if (map->entries[i].placed)
			vfb_index_find(&space->index, ranges[i].iova)->state = VFB_MAPPING_GONE;
	vfb_index_compact(&space->index);
	pthread_mutex_unlock(&space->lock);
	return error;
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
		error = allocate_job(space, count, &known, &map);
	if (error)
		return error;
	error = prepare(map, ranges, known.width);
	if (error) {
		vfb_job_fini(&map->job);
		free_map(&map->job);
		return error;
	}
	for (size_t i = 0; i < count; i++)
		if (ranges[i].memory)
			atomic_fetch_add(&ranges[i].memory->users, 1);
	vfb_space_job_begin(space);
	*out = &map->job;
	vfb_pipeline_start(map);
	return 0;
}

int vfb_space_map(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		  const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;
	int error = vfb_observe_check_wait();

	if (!error)
		error = vfb_space_map_start(space, ranges, count, opts, &job);
	return error ? error : vfb_job_complete(job);
}
