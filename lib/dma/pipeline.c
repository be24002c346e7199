/* SPDX-License-Identifier: MIT */
#include "dma/pipeline.h"

#include <errno.h>
#include <inttypes.h>

#include "container_of.h"
#include "dma/plan.h"
#include "memory/memory.h"

/* Serial maps of a range: not fewer bytes at once than a part of it, unless it is the rest. */
#define SERIAL_PARTS 16

/* An entry fails; with it the job, unless the others are to go on. */
static void fail_entry(struct map_job *map, struct entry *entry, int error)
{
	pthread_mutex_lock(&map->lock);
	if (!entry->error)
		entry->error = error;
	pthread_mutex_unlock(&map->lock);
	vfb_job_fail(&map->job, error, !map->best_effort);
}

static bool is_dead(struct map_job *map, struct entry *entry)
{
	bool failed;

	pthread_mutex_lock(&map->lock);
	failed = entry->error;
	pthread_mutex_unlock(&map->lock);
	return failed || vfb_job_stopped(&map->job);
}

static int map_pieces(struct map_job *map, struct entry *entry, size_t first, size_t count)
{
	struct vfb_range *range = entry->range;
	uint64_t offset = entry->pieces[first].offset, bytes = 0;
	int error;

	for (size_t i = first; i < first + count; i++)
		bytes += entry->pieces[i].bytes;
	error = vfb_space_map_one(map->space, range->iova + offset,
				  range->memory->address + range->offset + offset, bytes,
				  range->flags);
	if (error) {
		fail_entry(map, entry, error);
		return error;
	}
	pthread_mutex_lock(&map->lock);
	for (size_t i = first; i < first + count; i++)
		entry->pieces[i].state = PIECE_MAPPED;
	entry->calls++;
	entry->mapped += count;
	if (entry->mapped == entry->piece_count)
		atomic_fetch_add(&map->job.entries_done, 1);
	pthread_mutex_unlock(&map->lock);
	atomic_fetch_add(&map->job.bytes_done, bytes);
	return 0;
}

/*
 * Puts the entry on the queue when its run is worth a call, which is known once the gate is open.
 * Called with the lock held.
 */
static void queue_run(struct map_job *map, struct entry *entry)
{
	size_t run;

	if (!map->gate_open)
		return;
	while (entry->populated_end < entry->piece_count &&
	       entry->pieces[entry->populated_end].state == PIECE_POPULATED)
		entry->populated_end++;
	run = entry->populated_end - entry->frontier;
	if (!run || entry->queued)
		return;
	if (entry->populated_end < entry->piece_count &&
	    (map->whole_ranges || run * SERIAL_PARTS < entry->piece_count))
		return;
	entry->queued = true;
	entry->next = NULL;
	*map->queue_tail = entry;
	map->queue_tail = &entry->next;
}

static struct entry *take_run(struct map_job *map, size_t *first, size_t *count)
{
	struct entry *entry = map->queue;

	if (!entry)
		return NULL;
	map->queue = entry->next;
	if (!map->queue)
		map->queue_tail = &map->queue;
	entry->queued = false;
	*first = entry->frontier;
	*count = entry->populated_end - entry->frontier;
	entry->frontier = entry->populated_end;
	return entry;
}

/* Maps the runs that wait, unless another worker is at it, who will find them too. */
static void map_runs(struct map_job *map)
{
	struct entry *entry;
	size_t first, count;

	pthread_mutex_lock(&map->lock);
	if (map->mapping || !map->gate_open) {
		pthread_mutex_unlock(&map->lock);
		return;
	}
	map->mapping = true;
	while ((entry = take_run(map, &first, &count))) {
		pthread_mutex_unlock(&map->lock);
		if (!is_dead(map, entry))
			map_pieces(map, entry, first, count);
		pthread_mutex_lock(&map->lock);
		queue_run(map, entry);
	}
	map->mapping = false;
	pthread_mutex_unlock(&map->lock);
}

/* A piece is populated: maps it, or leaves it to whoever opens the gate. */
static void piece_populated(struct map_job *map, struct piece *piece)
{
	bool gate_open;

	pthread_mutex_lock(&map->lock);
	piece->state = PIECE_POPULATED;
	gate_open = map->gate_open;
	if (map->serial) {
		queue_run(map, piece->entry);
	} else if (!gate_open) {
		piece->next = map->waiting;
		map->waiting = piece;
	}
	pthread_mutex_unlock(&map->lock);
	if (gate_open && map->serial)
		map_runs(map);
	else if (gate_open)
		map_pieces(map, piece->entry, piece - piece->entry->pieces, 1);
}

static struct piece *take_piece(struct map_job *map)
{
	struct piece *piece = NULL;

	pthread_mutex_lock(&map->lock);
	if (map->todo && map->on_their_way < map->width) {
		piece = map->todo;
		map->todo = piece->next;
		map->on_their_way++;
	}
	pthread_mutex_unlock(&map->lock);
	return piece;
}

/* Submits as many pieces as the width admits. */
static void submit_pieces(struct map_job *map)
{
	struct piece *piece;

	while ((piece = take_piece(map))) {
		piece->task.next = NULL;
		vfb_job_hold(&map->job);
		vfb_engine_submit(map->space->ctx->engine, &piece->task, piece->node);
	}
}

static int populate_piece(struct piece *piece)
{
	struct vfb_range *range = piece->entry->range;
	uint64_t offset = range->offset + piece->offset;

	/* It may have waited for the gate. */
	if (piece->state == PIECE_POPULATED ||
	    vfb_memory_is_populated(range->memory, offset, piece->bytes))
		return 0;
	return vfb_memory_populate_range(range->memory, offset, piece->bytes, piece->node,
					 &piece->owner->job);
}

void vfb_pipeline_run_piece(struct vfb_task *task)
{
	struct piece *piece = container_of(task, struct piece, task);
	struct map_job *map = piece->owner;
	int error;

	if (!is_dead(map, piece->entry)) {
		error = populate_piece(piece);
		if (!error)
			piece_populated(map, piece);
		else if (error != -ECANCELED)
			fail_entry(map, piece->entry, error);
	}
	pthread_mutex_lock(&map->lock);
	map->on_their_way--;
	pthread_mutex_unlock(&map->lock);
	submit_pieces(map);
	vfb_job_release(&map->job);
}

static int place_entry(struct map_job *map, struct entry *entry)
{
	struct vfb_space *space = map->space;
	int error;

	if (entry->error)
		return 0;
	pthread_mutex_lock(&space->lock);
	if (space->domain)
		error = vfb_plan_place(space, entry->range, entry - map->entries);
	else
		error = vfb_fail(-ENODEV, "no device is open in the space: memory is mapped for "
					  "devices, open them first or at the same time");
	pthread_mutex_unlock(&space->lock);
	if (!error)
		entry->placed = true;
	else
		fail_entry(map, entry, error);
	return error;
}

/* Every range needs at least one of the mappings that the kernel has left. */
static int check_entries_left(struct map_job *map)
{
	uint64_t left;

	pthread_mutex_lock(&map->space->lock);
	left = map->space->entries_left;
	pthread_mutex_unlock(&map->space->lock);
	map->whole_ranges = map->count > left / SERIAL_PARTS;
	if (map->count <= left)
		return 0;
	return vfb_job_fail(&map->job,
			    vfb_fail(-ENOSPC,
				     "%zu ranges are more than the %" PRIu64 " mappings that the "
				     "kernel has left: map fewer, larger ranges, or raise "
				     "dma_entry_limit of vfio_iommu_type1",
				     map->count, left),
			    true);
}

static void lift_gate(struct map_job *map)
{
	pthread_mutex_lock(&map->lock);
	map->gate_open = true;
	while (map->waiting) {
		struct piece *piece = map->waiting;

		map->waiting = piece->next;
		piece->next = map->todo;
		map->todo = piece;
	}
	for (size_t i = 0; i < map->count && map->serial; i++)
		queue_run(map, &map->entries[i]);
	pthread_mutex_unlock(&map->lock);
	if (map->serial) {
		vfb_job_hold(&map->job);
		vfb_engine_submit(map->space->ctx->engine, &map->catch_up, VFB_ANY_NODE);
	}
	submit_pieces(map);
}

/* It is decided whether there is a domain: places the entries, and lets maps begin. */
static void domain_decided(struct vfb_domain_waiter *waiter)
{
	struct map_job *map = container_of(waiter, struct map_job, waiter);
	/* What is cancelled was not wrong, too: nothing is begun any more. */
	int error = vfb_job_stopped(&map->job) ? -ECANCELED : check_entries_left(map);

	for (size_t i = 0; i < map->count && !error; i++) {
		error = place_entry(map, &map->entries[i]);
		if (map->best_effort)
			error = 0;
	}
	if (!vfb_job_stopped(&map->job))
		lift_gate(map);
	vfb_job_release(&map->job);
}

static void run_catch_up(struct vfb_task *task)
{
	struct map_job *map = container_of(task, struct map_job, catch_up);

	map_runs(map);
	vfb_job_release(&map->job);
}

/* Serial maps need no task for what is populated already, and get the longest runs. */
static void skip_populated(struct map_job *map)
{
	struct piece **link = &map->todo;

	while (*link) {
		struct piece *piece = *link;
		struct vfb_range *range = piece->entry->range;

		if (!vfb_memory_is_populated(range->memory, range->offset + piece->offset,
					     piece->bytes)) {
			link = &piece->next;
			continue;
		}
		piece->state = PIECE_POPULATED;
		*link = piece->next;
	}
}

void vfb_pipeline_start(struct map_job *map)
{
	map->waiter.decided = domain_decided;
	map->catch_up.run = run_catch_up;
	map->queue_tail = &map->queue;
	if (map->serial)
		skip_populated(map);
	/* The gate holds the job, too. */
	vfb_job_hold(&map->job);
	if (vfb_space_domain_decided(map->space, &map->waiter))
		domain_decided(&map->waiter);
	submit_pieces(map);
	vfb_job_release(&map->job);
}
