/* SPDX-License-Identifier: MIT */
#include "dma/pipeline.h"

#include <errno.h>
#include <inttypes.h>

#include "container_of.h"
#include "dma/range.h"
#include "memory/memory.h"

static void set_status_locked(struct map_job *map, const struct map_entry *entry, int status)
{
	map->statuses[entry->range - map->ranges] = status;
}

void vfb_pipeline_set_status(struct map_job *map, const struct map_entry *entry, int status)
{
	pthread_mutex_lock(&map->lock);
	set_status_locked(map, entry, status);
	pthread_mutex_unlock(&map->lock);
}

/* Fails entries, and the job with them unless it is best effort. */
static void fail_entries(struct map_job *map, size_t first, size_t count, int error)
{
	pthread_mutex_lock(&map->lock);
	for (struct map_entry *entry = &map->entries[first]; count--; entry++)
		if (!entry->error) {
			entry->error = error;
			set_status_locked(map, entry, error);
		}
	pthread_mutex_unlock(&map->lock);
	vfb_job_fail(&map->job, error, !map->best_effort);
}

/* Whether the job has stopped, or all of these entries have failed. */
static bool is_dead(struct map_job *map, size_t first, size_t count)
{
	bool dead = true;

	if (vfb_job_stopped(&map->job))
		return true;
	pthread_mutex_lock(&map->lock);
	for (size_t i = first; i < first + count && dead; i++)
		dead = map->entries[i].error;
	pthread_mutex_unlock(&map->lock);
	return dead;
}

/* After a call: entries that are mapped completely are done. */
static void count_call(struct map_job *map, const struct vfb_call *call)
{
	pthread_mutex_lock(&map->lock);
	for (size_t i = 0; i < call->entry_count; i++) {
		struct map_entry *entry = &map->entries[call->first_entry + i];

		if (--entry->calls_left)
			continue;
		set_status_locked(map, entry, 0);
		atomic_fetch_add(&map->job.entries_done, 1);
	}
	pthread_mutex_unlock(&map->lock);
	vfb_job_announce(&map->job);
}

static void map_call(struct map_job *map, struct vfb_call *call)
{
	if (call->error != -EINPROGRESS || is_dead(map, call->first_entry, call->entry_count))
		return;
	if (!vfb_call_map(map->space, call))
		count_call(map, call);
	else
		fail_entries(map, call->first_entry, call->entry_count, call->error);
}

static void map_piece(struct map_job *map, const struct map_piece *piece)
{
	for (size_t i = 0; i < piece->call_count; i++)
		map_call(map, &map->calls.calls[piece->first_call + i]);
}

/* Whether the piece can be mapped now. If not, opening the gate maps it. */
static bool piece_is_populated(struct map_job *map, struct map_piece *piece)
{
	bool map_now;

	pthread_mutex_lock(&map->lock);
	map_now = map->gate == GATE_OPEN && !map->serial;
	piece->populated = true;
	piece->state = map_now ? PIECE_RUNNING : PIECE_POPULATED;
	pthread_mutex_unlock(&map->lock);
	return map_now;
}

static bool can_be_submitted_locked(const struct map_job *map, const struct map_piece *piece)
{
	return piece->state == PIECE_TO_DO ||
	       (piece->state == PIECE_POPULATED && map->gate == GATE_OPEN && !map->serial);
}

static struct map_piece *take_piece(struct map_job *map)
{
	struct map_piece *piece = NULL;

	pthread_mutex_lock(&map->lock);
	while (!piece && map->next_piece < map->end_piece && map->running < map->width) {
		piece = &map->pieces[map->next_piece++];
		if (!can_be_submitted_locked(map, piece))
			piece = NULL;
	}
	if (piece) {
		piece->state = PIECE_RUNNING;
		map->running++;
	}
	pthread_mutex_unlock(&map->lock);
	return piece;
}

/* Submits as many pieces as the width allows. */
static void submit_pieces(struct map_job *map)
{
	struct map_piece *piece;

	while ((piece = take_piece(map)))
		vfb_job_submit(&map->job, &piece->task, piece->node);
}

static int populate_piece(struct map_piece *piece)
{
	struct vfb_job *job = &piece->owner->job;

	/* The piece may have waited for the gate. */
	if (piece->populated)
		return 0;
	if (!piece->needed || vfb_memory_is_populated(piece->memory, piece->offset, piece->bytes)) {
		atomic_fetch_add(&job->bytes_done, piece->bytes);
		return 0;
	}
	return vfb_memory_populate_range(piece->memory, piece->offset, piece->bytes, piece->node,
					 job);
}

/* Serial maps: the calls that have waited for this piece last are ready. */
static void count_piece_locked(struct map_job *map, const struct map_piece *piece)
{
	for (size_t i = 0; i < piece->call_count; i++)
		if (!--map->calls.calls[piece->first_call + i].pieces_left)
			map->ready[map->ready_end++] = piece->first_call + i;
}

/* Counts the pieces that have ended before there were calls. */
static void count_pieces_locked(struct map_job *map)
{
	size_t first = map->undecided < map->plan.run_count ?
			       map->plan.runs[map->undecided].first_piece :
			       map->end_piece;

	for (size_t i = first; i < map->end_piece; i++)
		if (map->pieces[i].ended)
			count_piece_locked(map, &map->pieces[i]);
}

static void piece_ends(struct map_job *map, struct map_piece *piece)
{
	pthread_mutex_lock(&map->lock);
	if (piece->state == PIECE_RUNNING)
		piece->state = PIECE_DONE;
	piece->ended = true;
	if (map->serial && map->gate == GATE_OPEN)
		count_piece_locked(map, piece);
	map->running--;
	pthread_mutex_unlock(&map->lock);
}

/*
 * Whether a worker may make the call while others populate. Pinning takes mmap_lock for writing for
 * each run of pages (vfio_lock_acct()): beside MADV_POPULATE_WRITE, which holds it for reading,
 * both wait for each other most of the time.
 */
static bool maps_behind(const struct map_job *map, const struct vfb_call *call)
{
	return map->in_parts && map->width > 1 &&
	       !atomic_load_explicit(&call->memory->advised, memory_order_relaxed);
}

/* The next call that can be made, or NULL. */
static struct vfb_call *next_ready_locked(const struct map_job *map)
{
	struct vfb_call *call;

	if (map->ready_first == map->ready_end)
		return NULL;
	call = &map->calls.calls[map->ready[map->ready_first]];
	return !map->behind || maps_behind(map, call) ? call : NULL;
}

/*
 * Serial maps: starts to make the calls that are ready. @behind: others populate meanwhile. Returns
 * false if there is nothing to do.
 */
static bool start_mapper(struct map_job *map, bool behind)
{
	bool start = false;

	if (!map->serial)
		return false;
	pthread_mutex_lock(&map->lock);
	if (map->gate == GATE_OPEN && !map->mapping && !vfb_job_stopped(&map->job)) {
		map->behind = behind;
		start = next_ready_locked(map);
		map->mapping = start;
	}
	pthread_mutex_unlock(&map->lock);
	if (start)
		vfb_job_submit(&map->job, &map->mapper, VFB_ANY_NODE);
	return start;
}

/* Whether workers of another node run the piece. */
static bool move_piece(struct map_piece *piece)
{
	return piece->needed && !piece->populated &&
	       vfb_memory_move_task(piece->memory, piece->offset, piece->bytes, &piece->owner->job,
				    &piece->task, &piece->node);
}

void vfb_pipeline_run_piece(struct vfb_task *task)
{
	struct map_piece *piece = container_of(task, struct map_piece, task);
	struct map_job *map = piece->owner;
	int error;

	if (!is_dead(map, piece->first_entry, piece->entry_count)) {
		if (move_piece(piece)) {
			vfb_job_release(&map->job);
			return;
		}
		error = populate_piece(piece);
		if (error && error != -ECANCELED)
			fail_entries(map, piece->first_entry, piece->entry_count, error);
		else if (!error && piece_is_populated(map, piece))
			map_piece(map, piece);
	}
	piece_ends(map, piece);
	submit_pieces(map);
	start_mapper(map, true);
	vfb_job_release(&map->job);
}

/* Checks an entry against the domain, and reserves IOVAs for it. */
static int place_entry_locked(struct map_job *map, struct map_entry *entry)
{
	size_t number = entry->range - map->ranges;
	int error = vfb_range_check_domain_locked(map->space, entry->range, number);

	if (!error)
		error = vfb_range_check_held_locked(map->space, entry->range, number);
	if (error || entry->placed)
		return error;
	error = vfb_range_find_gap_locked(map->space, entry->range, number);
	if (error)
		return error;
	entry->mapping->at.iova = entry->range->iova;
	vfb_index_add(&map->space->index, entry->mapping);
	entry->placed = true;
	return 0;
}

/* Places all entries that are not decided. An error ends the job. */
static int place_entries_locked(struct map_job *map)
{
	size_t first = map->undecided < map->plan.run_count ? map->plan.runs[map->undecided].first :
							      map->plan.count;

	for (size_t i = first; i < map->plan.count; i++) {
		struct map_entry *entry = &map->entries[i];
		int error = entry->error ? 0 : place_entry_locked(map, entry);

		if (!error)
			continue;
		fail_entries(map, i, 1, error);
		if (!map->best_effort)
			return error;
	}
	return 0;
}

/* Gives entries their IOVAs and, with a domain, lists the calls. An error ends the job. */
static int place_locked(struct map_job *map)
{
	struct vfb_space *space = map->space;
	int error = 0;

	if (space->domain && map->serial) {
		error = vfb_plan_check_entries_locked(&map->plan, space, &map->joined);
		if (error && !map->best_effort)
			return vfb_job_fail(&map->job, error, true);
	}
	error = place_entries_locked(map);
	if (!error && space->domain)
		error = vfb_map_cut_calls(map);
	return error ? vfb_job_fail(&map->job, error, true) : 0;
}

/* Lets maps begin, or keeps the ranges. Populated pieces are mapped first. */
static void lift_gate(struct map_job *map, enum map_gate gate)
{
	pthread_mutex_lock(&map->lock);
	map->gate = gate;
	if (gate == GATE_OPEN && map->wave_count)
		map->next_piece = map->plan.runs[map->waves[map->wave].first_run].first_piece;
	if (gate == GATE_OPEN && map->serial)
		count_pieces_locked(map);
	pthread_mutex_unlock(&map->lock);
	submit_pieces(map);
	start_mapper(map, true);
}

/* Called when it is known whether there is a domain. */
static void domain_decided(struct vfb_domain_waiter *waiter)
{
	struct map_job *map = container_of(waiter, struct map_job, waiter);
	struct vfb_space *space = map->space;
	enum map_gate gate;
	int error;

	pthread_mutex_lock(&space->lock);
	gate = space->domain ? GATE_OPEN : GATE_KEEP;
	/* A cancelled job must not report another error. */
	error = vfb_job_stopped(&map->job) ? -ECANCELED : place_locked(map);
	pthread_mutex_unlock(&space->lock);
	if (!error)
		lift_gate(map, gate);
	vfb_job_release(&map->job);
}

int vfb_pipeline_open_late_locked(struct map_job *map)
{
	int error = place_locked(map);

	if (!error)
		map->gate = GATE_OPEN;
	return error;
}

/* Allows the pieces of runs up to the end of a wave to be submitted. */
static void queue_pieces(struct map_job *map, size_t first_run, size_t wave)
{
	size_t end = vfb_map_wave_end(map, wave);

	vfb_job_set_rank(&map->job, map->priority, map->waves[wave].background);
	pthread_mutex_lock(&map->lock);
	map->next_piece = map->plan.runs[first_run].first_piece;
	map->end_piece = map->plan.runs[end - 1].first_piece + map->plan.runs[end - 1].piece_count;
	pthread_mutex_unlock(&map->lock);
}

void vfb_pipeline_map_late(struct map_job *map)
{
	if (map->serial) {
		pthread_mutex_lock(&map->lock);
		count_pieces_locked(map);
		pthread_mutex_unlock(&map->lock);
		vfb_pipeline_map_ready(map);
		return;
	}
	queue_pieces(map, map->undecided, map->wave);
	submit_pieces(map);
}

/* The next call that can be made, or NULL, with which the mapper ends. */
static struct vfb_call *take_ready(struct map_job *map)
{
	struct vfb_call *call;

	pthread_mutex_lock(&map->lock);
	call = next_ready_locked(map);
	if (call)
		map->ready_first++;
	map->mapping = call;
	pthread_mutex_unlock(&map->lock);
	return call;
}

/* The serial form. */
static void run_mapper(struct vfb_task *task)
{
	struct map_job *map = container_of(task, struct map_job, mapper);
	struct vfb_call *call;

	while ((call = take_ready(map)))
		map_call(map, call);
	vfb_job_release(&map->job);
}

bool vfb_pipeline_map_ready(struct map_job *map)
{
	return start_mapper(map, false);
}

void vfb_pipeline_next_wave(struct map_job *map)
{
	map->wave++;
	queue_pieces(map, map->waves[map->wave].first_run, map->wave);
	submit_pieces(map);
}

void vfb_pipeline_start(struct map_job *map)
{
	map->waiter.decided = domain_decided;
	map->mapper = (struct vfb_task){.run = run_mapper, .ahead = true};
	if (map->wave_count)
		queue_pieces(map, 0, 0);
	/* The gate holds the job as well. */
	vfb_job_hold(&map->job);
	if (vfb_space_domain_decided(map->space, &map->waiter))
		domain_decided(&map->waiter);
	if (!vfb_job_stopped(&map->job))
		submit_pieces(map);
	vfb_job_release(&map->job);
}
