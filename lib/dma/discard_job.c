/* SPDX-License-Identifier: MIT */
/* The steps of discarding and restoring. */
#include <errno.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/discard_job.h"
#include "memory/memory.h"

enum discard_step {
	STEP_UNMAP,
	STEP_RETURN,
	STEP_POPULATE,
	STEP_MAP,
};

/* The steps of discarding and of restoring: two forward, and two for the entries that have failed.
 */
#define STEPS 4
static const enum discard_step steps[2][STEPS] = {
	{STEP_UNMAP, STEP_RETURN, STEP_POPULATE, STEP_MAP},
	{STEP_POPULATE, STEP_MAP, STEP_UNMAP, STEP_RETURN},
};

static bool is_backward(const struct discard_job *job)
{
	return job->step > STEPS / 2;
}

static enum discard_step current_step(const struct discard_job *job)
{
	return steps[job->discard.restores][job->step - 1];
}

/* ---- One step ---- */

/* Whether the step is taken for all of these entries. Not backward after a failure there: the pages
 * may still be mapped. */
static bool takes_part(struct discard_job *job, size_t first, size_t count)
{
	bool part = true;

	pthread_mutex_lock(&job->lock);
	for (size_t i = first; i < first + count && part; i++) {
		const struct discard_entry *entry = &job->discard.entries[i];

		part = is_backward(job) ? entry->error && !entry->stuck : !entry->error;
	}
	pthread_mutex_unlock(&job->lock);
	return part && (is_backward(job) || !vfb_job_stopped(&job->job));
}

static void fail_entries(struct discard_job *job, size_t first, size_t count, int error)
{
	pthread_mutex_lock(&job->lock);
	for (size_t i = first; i < first + count; i++) {
		struct discard_entry *entry = &job->discard.entries[i];

		entry->stuck = entry->stuck || is_backward(job);
		if (!entry->error)
			entry->error = error;
	}
	pthread_mutex_unlock(&job->lock);
	if (error != -ECANCELED && !is_backward(job))
		vfb_job_fail(&job->job, error, job->discard.restores && !job->best_effort);
}

static void visit_piece(struct vfb_spread *spread, size_t item)
{
	struct discard_node *node = container_of(spread, struct discard_node, spread);
	struct discard_job *job = node->owner;
	const struct discard_piece *piece = &job->pieces[node->first + item];
	struct vfb_memory *memory = job->discard.memory;
	struct vfb_job *progress = is_backward(job) ? NULL : &job->job;
	int error;

	if (!takes_part(job, piece->entry, 1))
		return;
	if (current_step(job) == STEP_POPULATE) {
		error = vfb_memory_populate_range(memory, piece->offset, piece->bytes, piece->node,
						  progress);
		if (!error)
			vfb_memory_note_present(memory, piece->offset, piece->bytes);
	} else {
		error = vfb_memory_return_range(memory, piece->offset, piece->bytes);
		if (progress)
			atomic_fetch_add(&progress->bytes_done, piece->bytes);
	}
	if (error)
		fail_entries(job, piece->entry, 1, error);
}

/* Marks those of a call that have failed: the extent cannot be mapped without the others. */
static void keep_joined_discarded(struct discard_job *job, const struct vfb_call *call)
{
	pthread_mutex_lock(&job->lock);
	for (size_t i = call->first_entry; i < call->first_entry + call->entry_count; i++)
		if (job->discard.entries[i].error)
			job->discard.entries[i].stuck = true;
	pthread_mutex_unlock(&job->lock);
}

/* Backward, calls are taken back that were made forward. */
static void visit_call(struct vfb_spread *spread, size_t item)
{
	struct discard_space *in = container_of(spread, struct discard_space, spread);
	struct discard_job *job = container_of(in->owner, struct discard_job, discard);
	struct vfb_call *call = &in->calls.calls[item];
	int error;

	if (is_backward(job) && call->error)
		return;
	if (!takes_part(job, call->first_entry, call->entry_count)) {
		if (is_backward(job))
			keep_joined_discarded(job, call);
		return;
	}
	if (current_step(job) == STEP_MAP)
		error = vfb_space_map_one(in->space, call->memory, call->offset, call->bytes,
					  call->iova, call->flags);
	else
		error = vfb_space_unmap_one(in->space, call->iova, call->bytes);
	call->error = error;
	if (error)
		fail_entries(job, call->first_entry, call->entry_count, error);
}

/* In this thread, or in those of the job. */
static void spread_items(struct discard_job *job, struct vfb_spread *spread, size_t count,
			 unsigned int width, int node,
			 void (*visit)(struct vfb_spread *spread, size_t item))
{
	if (!job->here) {
		vfb_spread_on(spread, &job->job, count, width, node, visit);
		return;
	}
	for (size_t i = 0; i < count; i++)
		visit(spread, i);
}

static void begin_pieces(struct discard_job *job)
{
	unsigned int workers = vfb_engine_workers(job->job.ctx->engine);

	for (size_t i = 0; i < job->node_count; i++) {
		struct discard_node *node = &job->nodes[i];

		spread_items(job, &node->spread, node->count,
			     job->width < workers ? job->width : workers,
			     job->pieces[node->first].node, visit_piece);
	}
}

/* The kernel locks a file while it punches a hole (inode_lock()): other threads would only wait. */
static void begin_holes(struct discard_job *job)
{
	struct discard_node *all = &job->nodes[job->node_count];

	*all = (struct discard_node){.owner = job};
	spread_items(job, &all->spread, job->piece_count, 1, VFB_ANY_NODE, visit_piece);
}

static void begin_step(struct discard_job *job)
{
	if (current_step(job) == STEP_RETURN && job->discard.memory->fd >= 0) {
		begin_holes(job);
		return;
	}
	if (current_step(job) == STEP_POPULATE || current_step(job) == STEP_RETURN) {
		begin_pieces(job);
		return;
	}
	for (size_t i = 0; i < job->discard.space_count; i++) {
		struct discard_space *in = &job->discard.spaces[i];

		/* Its owner may have destroyed it: only claims keep it. */
		if (!in->claim_count)
			continue;
		spread_items(job, &in->spread, in->calls.count,
			     vfb_calls_width(&in->calls, job->width), VFB_ANY_NODE, visit_call);
	}
}

/* ---- From step to step ---- */

/* Fails the entries that have not failed. */
static void cancel_entries(struct discard_job *job)
{
	pthread_mutex_lock(&job->lock);
	for (size_t i = 0; i < job->discard.count; i++)
		if (!job->discard.entries[i].error)
			job->discard.entries[i].error = -ECANCELED;
	pthread_mutex_unlock(&job->lock);
}

static bool has_failed(struct discard_job *job)
{
	bool failed = false;

	pthread_mutex_lock(&job->lock);
	for (size_t i = 0; i < job->discard.count && !failed; i++)
		failed = job->discard.entries[i].error;
	pthread_mutex_unlock(&job->lock);
	return failed;
}

/* Whether another step must be taken after the last one. */
static bool next_step(struct discard_job *job)
{
	bool all_or_nothing = !job->best_effort && has_failed(job);

	/* Returned pages are lost. */
	if (!job->discard.restores && job->step == 1 && all_or_nothing)
		cancel_entries(job);
	if (job->discard.restores && job->step == STEPS / 2 &&
	    (all_or_nothing || !vfb_job_decide(&job->job, true)))
		cancel_entries(job);
	if (job->step == STEPS / 2 && !has_failed(job))
		return false;
	return job->step++ < STEPS;
}

static void finish_entries(struct discard_job *job)
{
	struct vfb_ctx *ctx = job->job.ctx;

	vfb_discard_settle(&job->discard);
	vfb_spaces_release(ctx->spaces, &job->hold);
	for (size_t i = 0; i < job->discard.count; i++)
		job->discard.entries[i].range->status = job->discard.entries[i].error;
	atomic_fetch_sub(&job->discard.memory->users, 1);
	atomic_store(&job->job.entries_done, job->job.entries);
}

static bool finish_discard(struct vfb_job *base)
{
	struct discard_job *job = container_of(base, struct discard_job, job);

	if (next_step(job)) {
		begin_step(job);
		return false;
	}
	vfb_job_settle(base);
	finish_entries(job);
	return true;
}

static void free_discard(struct vfb_job *base)
{
	struct discard_job *job = container_of(base, struct discard_job, job);

	vfb_discard_free(&job->discard);
	pthread_mutex_destroy(&job->lock);
	free(job->held);
	free(job->pieces);
	free(job->nodes);
	free(job);
}

const struct vfb_job_ops vfb_discard_ops = {
	.operation = "discard",
	.finish = finish_discard,
	.free = free_discard,
};

const struct vfb_job_ops vfb_restore_ops = {
	.operation = "restore",
	.cancellable = true,
	.finish = finish_discard,
	.free = free_discard,
};
