/* SPDX-License-Identifier: MIT */
#include "dma/pipeline.h"

#include <errno.h>
#include <inttypes.h>

#include "container_of.h"
#include "dma/range.h"
#include "memory/memory.h"

void vfb_pipeline_set_status(struct map_job *map, const struct entry *entry, int status)
{
	pthread_mutex_lock(&map->lock);
	map->statuses[entry->range - map->ranges] = status;
	pthread_mutex_unlock(&map->lock);
}

/*
 * An entry fails; with it the job, unless the others are to go on. What becomes one mapping fails
 * as one.
 */
static void fail_entry(struct map_job *map, struct entry *entry, int error)
{
	struct entry *first = entry, *end = entry + 1;

	if (map->joined) {
		first = &map->entries[entry->run->first_entry];
		end = first + entry->run->entry_count;
	}
	pthread_mutex_lock(&map->lock);
	for (struct entry *failed = first; failed < end; failed++)
		if (!failed->error)
			map->statuses[failed->range - map->ranges] = failed->error = error;
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

/* Maps parts that follow each other by one call. */
static void map_parts(struct map_job *map, size_t first, size_t count)
{
	struct part *parts = &map->parts[first];
	struct vfb_range *range = parts->entry->range;
	uint64_t bytes = 0;
	int error;

	for (size_t i = 0; i < count; i++)
		bytes += parts[i].bytes;
	error = vfb_space_map_one(map->space, range->memory, range->offset + parts->offset, bytes,
				  range->iova + parts->offset, range->flags);
	if (error) {
		fail_entry(map, parts->entry, error);
		return;
	}
	pthread_mutex_lock(&map->lock);
	parts->begins = true;
	for (size_t i = 0; i < count; i++) {
		struct entry *entry = parts[i].entry;

		parts[i].mapped = true;
		if (i + 1 < count && parts[i + 1].entry != entry)
			entry->joined = true;
		if (++entry->mapped_parts < entry->part_count)
			continue;
		map->statuses[entry->range - map->ranges] = 0;
		atomic_fetch_add(&map->job.entries_done, 1);
	}
	pthread_mutex_unlock(&map->lock);
	vfb_job_announce(&map->job);
}

/* Maps parts one after another, or those that may be joined by one call. */
static void map_each(struct map_job *map, size_t first, size_t end)
{
	while (first < end) {
		struct entry *entry = map->parts[first].entry;
		size_t next = first + 1;

		if (map->joined)
			next = end;
		else
			while (next < end && map->parts[next].entry == entry)
				next++;
		if (!map->parts[first].mapped && !is_dead(map, entry))
			map_parts(map, first, next - first);
		first = next;
	}
}

static void map_piece(struct map_job *map, struct piece *piece)
{
	map_each(map, piece->first_part, piece->first_part + piece->part_count);
}

/* A piece is populated: maps it, or leaves it to whoever opens the gate. */
static void piece_populated(struct map_job *map, struct piece *piece)
{
	bool map_now;

	pthread_mutex_lock(&map->lock);
	piece->populated = true;
	map_now = map->gate == GATE_OPEN && !map->serial;
	if (map->gate == GATE_CLOSED && !map->serial) {
		piece->next = map->waiting;
		map->waiting = piece;
	}
	pthread_mutex_unlock(&map->lock);
	if (map_now)
		map_piece(map, piece);
}

/* In the background no more are queued than run, so that other jobs get their turn. */
static unsigned int width_of(const struct map_job *map)
{
	unsigned int workers = vfb_engine_workers(map->space->ctx->engine);

	if (map->waves[map->wave].background && workers < map->width)
		return workers;
	return map->width;
}

static struct piece *take_piece(struct map_job *map)
{
	struct piece *piece = NULL;

	pthread_mutex_lock(&map->lock);
	if (map->todo && map->on_their_way < width_of(map)) {
		piece = map->todo;
		map->todo = piece->next;
		if (!map->todo)
			map->todo_end = &map->todo;
		map->on_their_way++;
	}
	pthread_mutex_unlock(&map->lock);
	return piece;
}

/* Submits as many pieces as the width admits. */
static void submit_pieces(struct map_job *map)
{
	struct piece *piece;

	while ((piece = take_piece(map)))
		vfb_job_submit(&map->job, &piece->task, piece->node);
}

/* The entries of a piece: all dead? */
static bool is_dead_piece(struct map_job *map, const struct piece *piece)
{
	for (size_t i = 0; i < piece->part_count; i++)
		if (!is_dead(map, map->parts[piece->first_part + i].entry))
			return false;
	return true;
}

static int populate_piece(struct piece *piece)
{
	struct run *run = piece->run;
	uint64_t offset = run->offset + piece->offset;

	/* It may have waited for the gate. */
	if (piece->populated)
		return 0;
	if (vfb_memory_is_populated(run->memory, offset, piece->bytes)) {
		atomic_fetch_add(&piece->owner->job.bytes_done, piece->bytes);
		return 0;
	}
	return vfb_memory_populate_range(run->memory, offset, piece->bytes, piece->node,
					 &piece->owner->job);
}

static void fail_piece(struct map_job *map, struct piece *piece, int error)
{
	for (size_t i = 0; i < piece->part_count; i++)
		fail_entry(map, map->parts[piece->first_part + i].entry, error);
}

void vfb_pipeline_run_piece(struct vfb_task *task)
{
	struct piece *piece = container_of(task, struct piece, task);
	struct map_job *map = piece->owner;
	int error;

	if (!is_dead_piece(map, piece)) {
		error = populate_piece(piece);
		if (!error)
			piece_populated(map, piece);
		else if (error != -ECANCELED)
			fail_piece(map, piece, error);
	}
	pthread_mutex_lock(&map->lock);
	map->on_their_way--;
	pthread_mutex_unlock(&map->lock);
	submit_pieces(map);
	vfb_job_release(&map->job);
}

/* Checks an entry against the domain, and finds an IOVA for it if it has none. */
static int place_entry(struct map_job *map, struct entry *entry)
{
	size_t number = entry->range - map->ranges;
	int error = vfb_range_check_domain(map->space, entry->range, number);

	if (!error && !entry->placed)
		error = vfb_range_take_gap(map->space, entry->range, number);
	if (!error)
		entry->placed = true;
	return error;
}

/* Places all entries that are not decided; an error ends the job. */
static int place_entries(struct map_job *map)
{
	struct vfb_space *space = map->space;
	int error = 0;

	if (space->domain && map->serial) {
		error = vfb_plan_check_entries(&map->plan, space, &map->joined);
		if (error && !map->best_effort)
			return vfb_job_fail(&map->job, error, true);
	}
	for (size_t i = map->undecided; i < map->count; i++) {
		struct entry *entry = &map->entries[i];

		if (entry->error)
			continue;
		error = place_entry(map, entry);
		if (!error)
			continue;
		entry->error = error;
		vfb_pipeline_set_status(map, entry, error);
		vfb_job_fail(&map->job, error, !map->best_effort);
		if (!map->best_effort)
			return error;
	}
	return 0;
}

/* Lets maps begin, or keeps them. */
static void lift_gate(struct map_job *map, enum gate gate)
{
	pthread_mutex_lock(&map->lock);
	map->gate = gate;
	while (gate == GATE_OPEN && map->waiting) {
		struct piece *piece = map->waiting;

		map->waiting = piece->next;
		piece->next = map->todo;
		map->todo = piece;
		if (!piece->next)
			map->todo_end = &piece->next;
	}
	pthread_mutex_unlock(&map->lock);
	submit_pieces(map);
}

/* It is decided whether there is a domain. */
static void domain_decided(struct vfb_domain_waiter *waiter)
{
	struct map_job *map = container_of(waiter, struct map_job, waiter);
	struct vfb_space *space = map->space;
	enum gate gate;
	int error;

	pthread_mutex_lock(&space->lock);
	gate = space->domain ? GATE_OPEN : GATE_KEEP;
	/* What is cancelled was not wrong, too: nothing is begun any more. */
	error = vfb_job_stopped(&map->job) ? -ECANCELED : place_entries(map);
	pthread_mutex_unlock(&space->lock);
	if (!error)
		lift_gate(map, gate);
	vfb_job_release(&map->job);
}

int vfb_pipeline_open_late(struct map_job *map)
{
	int error = place_entries(map);

	if (!error)
		map->gate = GATE_OPEN;
	return error;
}

static void queue_pieces(struct map_job *map, const struct wave *wave)
{
	const struct run *run = &map->runs[wave->first_run];

	pthread_mutex_lock(&map->lock);
	for (size_t i = 0; i < wave->run_count; i++, run++)
		for (size_t n = 0; n < run->piece_count; n++) {
			struct piece *piece = &map->pieces[run->first_piece + n];

			piece->next = NULL;
			*map->todo_end = piece;
			map->todo_end = &piece->next;
		}
	pthread_mutex_unlock(&map->lock);
}

void vfb_pipeline_map_late(struct map_job *map)
{
	if (map->serial) {
		map->wave_mapped = false;
		vfb_pipeline_map_wave(map);
		return;
	}
	map->waiting = NULL;
	for (size_t i = 0; i <= map->wave; i++)
		if (vfb_wave_entry_end(map, i) > map->undecided)
			queue_pieces(map, &map->waves[i]);
	submit_pieces(map);
}

/* The serial form: every range of the waves that are populated and not decided, by one call. */
static void run_map_wave(struct vfb_task *task)
{
	struct map_job *map = container_of(task, struct map_job, map_wave);
	const struct wave *wave = &map->waves[map->wave];

	for (size_t i = 0; i < wave->first_run + wave->run_count; i++) {
		const struct run *run = &map->runs[i];

		if (run->first_entry >= map->undecided)
			map_each(map, run->first_part, run->first_part + run->part_count);
	}
	vfb_job_release(&map->job);
}

bool vfb_pipeline_map_wave(struct map_job *map)
{
	if (!map->serial || map->wave_mapped || map->gate != GATE_OPEN ||
	    vfb_job_stopped(&map->job))
		return false;
	map->wave_mapped = true;
	vfb_job_submit(&map->job, &map->map_wave, VFB_ANY_NODE);
	return true;
}

void vfb_pipeline_next_wave(struct map_job *map)
{
	map->wave++;
	map->wave_mapped = false;
	queue_pieces(map, &map->waves[map->wave]);
	submit_pieces(map);
}

void vfb_pipeline_start(struct map_job *map)
{
	map->todo_end = &map->todo;
	map->waiter.decided = domain_decided;
	map->map_wave.run = run_map_wave;
	if (map->wave_count)
		queue_pieces(map, &map->waves[0]);
	/* The gate holds the job, too. */
	vfb_job_hold(&map->job);
	if (vfb_space_domain_decided(map->space, &map->waiter))
		domain_decided(&map->waiter);
	if (!vfb_job_stopped(&map->job))
		submit_pieces(map);
	vfb_job_release(&map->job);
}
