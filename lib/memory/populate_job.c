/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "container_of.h"
#include "memory/memory.h"
#include "options.h"

struct populate_job;

struct populate_task {
	struct vfb_task task;
	struct populate_job *owner;
	struct vfb_memory *memory;
	uint64_t offset, bytes;
	int node;
};

struct populate_job {
	struct vfb_job job;
	struct vfb_memory **memories;
	size_t memory_count;
	struct populate_task *tasks;
	size_t task_count;
};

static void run_populate(struct vfb_task *task)
{
	struct populate_task *populate = container_of(task, struct populate_task, task);
	struct vfb_job *job = &populate->owner->job;
	int error = 0;

	if (!vfb_memory_move_task(populate->memory, populate->offset, populate->bytes, job, task,
				  &populate->node))
		error = vfb_memory_populate_range(populate->memory, populate->offset,
						  populate->bytes, populate->node, job);
	if (error && error != -ECANCELED)
		vfb_job_fail(job, error, true);
	vfb_job_release(job);
}

static bool finish_populate(struct vfb_job *job)
{
	struct populate_job *populate = container_of(job, struct populate_job, job);

	for (size_t i = 0; i < populate->memory_count; i++)
		atomic_fetch_sub(&populate->memories[i]->users, 1);
	vfb_job_settle(job);
	atomic_store(&job->entries_done, job->entries);
	return true;
}

static void free_populate(struct vfb_job *job)
{
	struct populate_job *populate = container_of(job, struct populate_job, job);

	free(populate->memories);
	free(populate->tasks);
	free(populate);
}

static const struct vfb_job_ops populate_ops = {
	.operation = "populate",
	.cancellable = true,
	.finish = finish_populate,
	.free = free_populate,
};

static size_t populate_count_pieces(const struct vfb_memory *memory)
{
	uint64_t piece = vfb_memory_piece_bytes(memory, 0, memory->bytes, 0);

	return (memory->bytes + piece - 1) / piece;
}

static void populate_add_pieces(struct populate_job *populate, struct vfb_memory *memory)
{
	uint64_t piece = vfb_memory_piece_bytes(memory, 0, memory->bytes, 0);

	for (uint64_t offset = 0; offset < memory->bytes; offset += piece) {
		uint64_t left = memory->bytes - offset;

		populate->tasks[populate->task_count++] = (struct populate_task){
			.task = {.run = run_populate, .bytes = left < piece ? left : piece},
			.owner = populate,
			.memory = memory,
			.offset = offset,
			.bytes = left < piece ? left : piece,
			.node = vfb_memory_node(memory, offset, offset / piece),
		};
	}
	populate->job.bytes += memory->bytes;
}

static int populate_check_room(struct vfb_memory *const *memories, size_t count)
{
	struct vfb_memory_part *parts = calloc(count, sizeof(*parts));
	int error;

	if (!parts)
		return vfb_fail_memory();
	for (size_t i = 0; i < count; i++)
		parts[i] = (struct vfb_memory_part){memories[i], 0, memories[i]->bytes};
	error = vfb_memory_check_room(memories[0]->ctx->sys, parts, count);
	free(parts);
	return error;
}

int vfb_memory_populate_start(struct vfb_memory *const *memories, size_t count,
			      struct vfb_job **out)
{
	struct populate_job *populate;
	struct vfb_ctx *ctx;
	size_t pieces = 0;
	int error;

	*out = NULL;
	error = vfb_entries_check(memories, count, "memories");
	if (error)
		return error;
	if (!count || !memories[0])
		return vfb_fail(-EINVAL, "no memory was given to populate");
	ctx = memories[0]->ctx;
	for (size_t i = 0; i < count; i++) {
		if (!memories[i] || memories[i]->ctx != ctx)
			return vfb_fail(-EINVAL, "memory %zu is NULL, or of another context", i);
		pieces += populate_count_pieces(memories[i]);
	}
	error = populate_check_room(memories, count);
	if (error)
		return error;
	populate = calloc(1, sizeof(*populate));
	if (!populate)
		return vfb_fail_memory();
	populate->memories = calloc(count, sizeof(*populate->memories));
	populate->tasks = calloc(pieces, sizeof(*populate->tasks));
	error = populate->memories && populate->tasks ?
			vfb_job_init(&populate->job, &populate_ops, ctx, count) :
			vfb_fail_memory();
	if (error) {
		free_populate(&populate->job);
		return error;
	}
	populate->memory_count = count;
	for (size_t i = 0; i < count; i++) {
		populate->memories[i] = memories[i];
		atomic_fetch_add(&memories[i]->users, 1);
		populate_add_pieces(populate, memories[i]);
	}
	/* Fewer than were counted when another job has populated it meanwhile. */
	for (size_t i = 0; i < populate->task_count; i++)
		vfb_job_submit(&populate->job, &populate->tasks[i].task, populate->tasks[i].node);
	*out = &populate->job;
	vfb_job_release(&populate->job);
	return 0;
}

int vfb_memory_populate(struct vfb_memory *memory)
{
	struct vfb_job *job;

	return vfb_job_sync(job, vfb_memory_populate_start(&memory, 1, &job));
}
