/* SPDX-License-Identifier: MIT */
#include "dma/pipeline.h"

#include <errno.h>
#include <inttypes.h>

#include "container_of.h"
#include "dma/plan.h"
#include "memory/memory.h"

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

static void map_pieces(struct map_job *map, struct entry *entry, size_t first, size_t count)
{
	struct vfb_range *range = entry->range;
	uint64_t offset = entry->pieces[first].offset, bytes = 0;
	int error;

	for (size_t i = first; i < first + count; i++)
		bytes += entry->pieces[i].bytes;
	error = vfb_space_map_one(map->space, range->iova + offset,
				  range->memory->address + range->offset + offset, bytes,
				  range->memory->page_bytes, range->flags);
	if (error) {
		fail_entry(map, entry, error);
		return;
	}
	pthread_mutex_lock(&map->lock);
	for (size_t i = first; i < first + count; i++)
		entry->pieces[i].state = PIECE_MAPPED;
	entry->calls++;
	entry->mapped += count;
	if (entry->mapped == entry->piece_count)
		atomic_fetch_add(&map->job.entries_done, 1);
	pthread_mutex_unlock(&map->lock);
}

/* A piece is populated: maps it, or leaves it to whoever opens the gate. */
static void piece_populated(struct map_job *map, struct piece *piece)
{
	bool map_now;

	pthread_mutex_lock(&map->lock);
	piece->state = PIECE_POPULATED;
	map_now = map->gate_open && !map->serial;
	if (!map->gate_open && !map->serial) {
		piece->next = map->waiting;
		map->waiting = piece;
	}
	pthread_mutex_unlock(&map->lock);
	if (map_now)
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
	if (piece->state == PIECE_POPULATED)
		return 0;
	if (vfb_memory_is_populated(range->memory, offset, piece->bytes)) {
		atomic_fetch_add(&piece->owner->job.bytes_done, piece->bytes);
		return 0;
	}
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
	pthread_mutex_unlock(&map->lock);
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

static void run_map_ranges(struct vfb_task *task)
{
	struct map_job *map = container_of(task, struct map_job, map_ranges);

	for (size_t i = 0; i < map->count; i++)
		if (!is_dead(map, &map->entries[i]))
			map_pieces(map, &map->entries[i], 0, map->entries[i].piece_count);
	vfb_job_release(&map->job);
}

bool vfb_pipeline_is_done(struct map_job *map)
{
	if (!map->serial || map->ranges_submitted || vfb_job_stopped(&map->job))
		return true;
	map->ranges_submitted = true;
	vfb_job_hold(&map->job);
	vfb_engine_submit(map->space->ctx->engine, &map->map_ranges, VFB_ANY_NODE);
	return false;
}

void vfb_pipeline_start(struct map_job *map)
{
	map->waiter.decided = domain_decided;
	map->map_ranges.run = run_map_ranges;
	map->map_ranges.span = map->job.span.id;
	/* The gate holds the job, too. */
	vfb_job_hold(&map->job);
	if (vfb_space_domain_decided(map->space, &map->waiter))
		domain_decided(&map->waiter);
	submit_pieces(map);
	vfb_job_release(&map->job);
}
