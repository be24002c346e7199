/* SPDX-License-Identifier: MIT */
/* Checking what is to be discarded or restored, and cutting it into pieces for workers. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/discard_job.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

static int check_part(const struct vfb_memory *memory, const struct vfb_memory_range *range,
		      size_t entry)
{
	uint64_t end = range->offset + range->bytes, page;

	if (!range->bytes || range->offset > memory->bytes ||
	    range->bytes > memory->bytes - range->offset || range->reserved)
		return vfb_fail(-EINVAL,
				"entry %zu (offset 0x%" PRIx64 ", %s) is empty, ends beyond the "
				"memory, which has %s, or has reserved set",
				entry, range->offset, vfb_size_text(range->bytes).text,
				vfb_size_text(memory->bytes).text);
	page = vfb_memory_page_at(memory, range->offset);
	/* The last byte decides: the end may be where smaller pages begin. */
	if (range->offset % page || end % vfb_memory_page_at(memory, end - 1))
		return vfb_fail(-EINVAL,
				"entry %zu (offset 0x%" PRIx64 ", %s) is not aligned to the pages "
				"of the memory, which have %s there",
				entry, range->offset, vfb_size_text(range->bytes).text,
				vfb_size_text(page).text);
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct discard_entry *left = a, *right = b;

	return (left->range->offset > right->range->offset) -
	       (left->range->offset < right->range->offset);
}

/* Finds the runs of sorted entries. */
static int find_runs(struct discard_job *job)
{
	uint64_t base = (uintptr_t)job->discard.memory->address;
	struct discard_entry *entries = job->discard.entries;

	for (size_t i = 0, first = 0; i < job->discard.count; i++) {
		const struct vfb_memory_range *range = entries[i].range, *before;

		before = i ? entries[i - 1].range : NULL;
		if (before && before->offset + before->bytes > range->offset)
			return vfb_fail(-EINVAL,
					"two entries contain offset 0x%" PRIx64 " of the memory: "
					"pass each part once",
					range->offset);
		if (!before || before->offset + before->bytes < range->offset)
			first = i;
		job->held[i] = (struct vfb_held){base + range->offset,
						 base + range->offset + (range->bytes - 1)};
		entries[i].run_first = job->held[first].first;
		entries[i].run_last = job->held[i].last;
	}
	/* Backward: the end of a run is that of the next entry in it. */
	for (size_t i = job->discard.count; i-- > 1;)
		if (entries[i - 1].run_first == entries[i].run_first)
			entries[i - 1].run_last = entries[i].run_last;
	return 0;
}

static int make_entries(struct discard_job *job, struct vfb_memory_range *ranges, size_t count)
{
	int error;

	job->discard.entries = calloc(count + 1, sizeof(*job->discard.entries));
	job->held = calloc(count + 1, sizeof(*job->held));
	if (!job->discard.entries || !job->held)
		return vfb_fail_memory();
	job->discard.count = count;
	for (size_t i = 0; i < count; i++) {
		job->discard.entries[i].range = &ranges[i];
		ranges[i].status = -ECANCELED;
		error = check_part(job->discard.memory, &ranges[i], i);
		if (error)
			return ranges[i].status = error;
		job->job.bytes += ranges[i].bytes;
	}
	qsort(job->discard.entries, count, sizeof(*job->discard.entries), by_offset);
	return find_runs(job);
}

static uint64_t piece_bytes(const struct discard_job *job, const struct vfb_memory_range *range)
{
	return range->bytes <= VFB_HERE_BYTES ?
		       range->bytes :
		       vfb_memory_piece_bytes(job->discard.memory, range->offset, range->bytes,
					      job->width == UINT_MAX ? 0 : job->width);
}

static int by_node(const void *a, const void *b)
{
	const struct discard_piece *left = a, *right = b;

	if (left->node != right->node)
		return left->node < right->node ? -1 : 1;
	return (left->offset > right->offset) - (left->offset < right->offset);
}

static void cut_entry(struct discard_job *job, size_t entry)
{
	const struct vfb_memory_range *range = job->discard.entries[entry].range;
	uint64_t bytes = job->discard.entries[entry].piece_bytes;
	uint64_t end = range->offset + range->bytes;

	for (uint64_t at = range->offset; at < end; at += bytes) {
		int node = vfb_memory_node(job->discard.memory, at, job->piece_count);

		job->pieces[job->piece_count++] =
			(struct discard_piece){entry, at, bytes < end - at ? bytes : end - at,
					       job->width == 1 ? VFB_ANY_NODE : node};
	}
}

static void group_pieces(struct discard_job *job)
{
	qsort(job->pieces, job->piece_count, sizeof(*job->pieces), by_node);
	for (size_t i = 0; i < job->piece_count; i++) {
		if (!i || job->pieces[i].node != job->pieces[i - 1].node)
			job->nodes[job->node_count++] = (struct discard_node){.owner = job,
									      .first = i};
		job->nodes[job->node_count - 1].count++;
	}
}

static void ask_nodes(struct vfb_task *task)
{
	struct discard_job *job = container_of(task, struct discard_job, asker);

	for (size_t i = 0; i < job->piece_count; i++)
		job->pieces[i].node = vfb_memory_ask_node(job->discard.memory,
							  job->pieces[i].offset, i);
	group_pieces(job);
	vfb_job_release(&job->job);
}

/* Any worker returns pages as well as another. */
static bool nodes_must_be_asked(const struct discard_job *job)
{
	bool must = false;

	for (size_t i = 0; i < job->piece_count && !must; i++)
		must = vfb_memory_must_ask_node(job->discard.memory, job->pieces[i].offset);
	return must && job->discard.restores && !job->here && job->width > 1;
}

static int make_pieces(struct discard_job *job)
{
	size_t count = 0;

	for (size_t i = 0; i < job->discard.count; i++) {
		struct discard_entry *entry = &job->discard.entries[i];

		entry->piece_bytes = piece_bytes(job, entry->range);
		count += (entry->range->bytes + entry->piece_bytes - 1) / entry->piece_bytes;
	}
	job->pieces = calloc(count + 1, sizeof(*job->pieces));
	/* One for no node, and one for all. */
	job->nodes = calloc(vfb_engine_nodes(job->job.ctx->engine) + 2, sizeof(*job->nodes));
	if (!job->pieces || !job->nodes)
		return vfb_fail_memory();
	for (size_t i = 0; i < job->discard.count; i++)
		cut_entry(job, i);
	return 0;
}

/* Refuses what there are no pages for: the kernel would kill. */
static int check_parts_room(const struct discard_job *job)
{
	struct vfb_memory_part *parts;
	int error;

	if (!job->discard.restores || !job->discard.count)
		return 0;
	parts = calloc(job->discard.count, sizeof(*parts));
	if (!parts)
		return vfb_fail_memory();
	for (size_t i = 0; i < job->discard.count; i++) {
		const struct vfb_memory_range *range = job->discard.entries[i].range;

		parts[i] = (struct vfb_memory_part){job->discard.memory, range->offset,
						    range->bytes};
	}
	error = vfb_memory_check_room(job->job.sys, parts, job->discard.count);
	free(parts);
	return error;
}

/* On failure nothing has changed. */
static int prepare_discard(struct discard_job *job, struct vfb_memory_range *ranges, size_t count)
{
	struct vfb_ctx *ctx = job->job.ctx;
	int error = make_entries(job, ranges, count);

	if (!error)
		error = make_pieces(job);
	if (!error)
		error = check_parts_room(job);
	if (error)
		return error;
	job->hold = (struct vfb_hold){.parts = job->held, .count = count};
	if (!vfb_spaces_hold(ctx->spaces, &job->hold))
		return vfb_fail(-EBUSY, "another job discards or restores a part of the memory: "
					"wait for it");
	error = vfb_discard_claim(&job->discard);
	if (error) {
		vfb_spaces_release(ctx->spaces, &job->hold);
		return error;
	}
	atomic_fetch_add(&job->discard.memory->users, 1);
	return 0;
}

static int discard_start(struct vfb_memory *memory, bool restores, struct vfb_memory_range *ranges,
			 size_t count, const struct vfb_batch_opts *opts, bool here,
			 struct vfb_job **out)
{
	const struct vfb_job_ops *ops = restores ? &vfb_restore_ops : &vfb_discard_ops;
	struct vfb_batch_opts known;
	struct discard_job *job;
	int error;

	*out = NULL;
	error = vfb_observer_check_process(&memory->ctx->observer);
	if (!error)
		error = vfb_batch_read(&known, opts, ranges, count);
	if (error)
		return error;
	job = calloc(1, sizeof(*job));
	if (!job)
		return vfb_fail_memory();
	pthread_mutex_init(&job->lock, NULL);
	job->discard.memory = memory;
	job->discard.restores = restores;
	job->width = known.width ? known.width : UINT_MAX;
	job->best_effort = known.flags & VFB_BATCH_BEST_EFFORT;
	job->here = here;
	error = vfb_job_init(&job->job, ops, memory->ctx, count);
	if (error) {
		ops->free(&job->job);
		return error;
	}
	vfb_job_set_rank(&job->job, known.priority, false);
	if (restores)
		error = vfb_job_set_timeout(&job->job, known.timeout_ns);
	if (!error)
		error = prepare_discard(job, ranges, count);
	if (error) {
		vfb_job_fini(&job->job);
		ops->free(&job->job);
		return error;
	}
	*out = &job->job;
	job->asker.run = ask_nodes;
	if (nodes_must_be_asked(job))
		vfb_job_submit(&job->job, &job->asker, VFB_ANY_NODE);
	else
		group_pieces(job);
	vfb_job_release(&job->job);
	return 0;
}

/* Whether one thread does it as fast as several would. Workers of a node populate its memory. */
static bool fits_here(const struct vfb_memory *memory, bool restores,
		      const struct vfb_memory_range *ranges, size_t count,
		      const struct vfb_batch_opts *opts)
{
	uint64_t bytes = 0;

	if (opts || !ranges || count > VFB_HERE_RANGES)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (ranges[i].bytes > VFB_HERE_BYTES - bytes)
			return false;
		bytes += ranges[i].bytes;
		if (restores && ranges[i].offset < memory->bytes &&
		    vfb_memory_wants_worker(memory, ranges[i].offset))
			return false;
	}
	return true;
}

int vfb_memory_discard_start(struct vfb_memory *memory, struct vfb_memory_range *ranges,
			     size_t count, const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	return discard_start(memory, false, ranges, count, opts, false, out);
}

int vfb_memory_restore_start(struct vfb_memory *memory, struct vfb_memory_range *ranges,
			     size_t count, const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	return discard_start(memory, true, ranges, count, opts, false, out);
}

int vfb_memory_discard(struct vfb_memory *memory, struct vfb_memory_range *ranges, size_t count,
		       const struct vfb_batch_opts *opts)
{
	bool here = fits_here(memory, false, ranges, count, opts);
	struct vfb_job *job;

	return vfb_job_sync(job, discard_start(memory, false, ranges, count, opts, here, &job));
}

int vfb_memory_restore(struct vfb_memory *memory, struct vfb_memory_range *ranges, size_t count,
		       const struct vfb_batch_opts *opts)
{
	bool here = fits_here(memory, true, ranges, count, opts);
	struct vfb_job *job;

	return vfb_job_sync(job, discard_start(memory, true, ranges, count, opts, here, &job));
}
