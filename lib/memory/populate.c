/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "container_of.h"
#include "memory/memory.h"
#include "sys/uapi.h"

#define BITS (8 * sizeof(long))

static bool granule_is_populated(const struct vfb_memory *memory, uint64_t granule)
{
	return atomic_load(&memory->populated[granule / BITS]) >> (granule % BITS) & 1;
}

static void mark_populated(struct vfb_memory *memory, uint64_t granule, uint64_t bytes)
{
	unsigned long bit = 1UL << (granule % BITS);

	if (!(atomic_fetch_or(&memory->populated[granule / BITS], bit) & bit))
		atomic_fetch_add(&memory->populated_bytes, bytes);
}

bool vfb_memory_is_populated(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	uint64_t size = vfb_memory_granule(memory);

	for (uint64_t granule = offset / size; granule * size < offset + bytes; granule++)
		if (!granule_is_populated(memory, granule))
			return false;
	return true;
}

static int explain(const struct vfb_memory *memory, int error, int node)
{
	struct vfb_size_text pages = vfb_size_text(memory->page_bytes);
	char where[32] = "";

	if (memory->policy == VFB_NUMA_BIND)
		snprintf(where, sizeof(where), " on node %d", node);
	switch (error) {
	case -EFAULT: /* where a write would have raised SIGBUS: madvise(2) */
	case -ENOMEM:
		return vfb_fail(-ENOMEM,
				"out of free pages of %s%s while populating %s: see %s, and the "
				"limits of the cgroup",
				pages.text, where, vfb_size_text(memory->bytes).text,
				memory->page_bytes > 4 * KIB ? "nr_hugepages" : "/proc/meminfo");
	case -EHWPOISON:
		return vfb_fail(error, "a page of %s%s has a memory error: see the kernel log",
				pages.text, where);
	case -EINVAL:
		return vfb_fail(-ENOTSUP, "populating memory needs MADV_POPULATE_WRITE, which "
					  "Linux has since 5.14");
	default:
		return vfb_fail_errno(error, "cannot populate pages of %s%s", pages.text, where);
	}
}

/* The steps of vfb_memory_populate_range(). */
static int populate_steps(struct vfb_memory *memory, uint64_t offset, uint64_t end,
			  struct vfb_job *job)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t size = vfb_memory_granule(memory);

	while (offset < end) {
		uint64_t granule = offset / size, next = (granule + 1) * size;
		bool whole = offset == granule * size;
		int error;

		if (vfb_job_stopped(job))
			return -ECANCELED;
		if (next > memory->bytes)
			next = memory->bytes;
		whole = whole && next <= end;
		if (next > end)
			next = end;
		if (!granule_is_populated(memory, granule)) {
			error = sys->madvise(sys, memory->address + offset, next - offset,
					     MADV_POPULATE_WRITE);
			if (error == -EINTR || error == -EAGAIN)
				continue;
			if (error)
				return error;
			if (whole)
				mark_populated(memory, granule, next - offset);
		}
		offset = next;
	}
	return 0;
}

int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job)
{
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &memory->ctx->observer, VFB_PHASE_POPULATE);
	error = populate_steps(memory, offset, offset + bytes, job);
	vfb_observe_end(&span, .operation = "MADV_POPULATE_WRITE", .result = error,
			.address = (uintptr_t)memory->address + offset, .bytes = bytes,
			.page_bytes = memory->page_bytes, .node = node);
	return error && error != -ECANCELED ? explain(memory, error, node) : error;
}

uint64_t vfb_memory_piece_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				unsigned int width)
{
	uint64_t align = vfb_memory_granule(memory), piece;
	/*
	 * Populating: the last to finish is late by a sixteenth on average. What only has to be
	 * mapped is done so soon that more calls cost more than they even out (measured).
	 */
	unsigned int for_each = vfb_memory_is_populated(memory, offset, bytes) ? 2 : 8;

	if (width) {
		piece = (bytes + width - 1) / width;
	} else {
		piece = bytes / (for_each * vfb_engine_workers(memory->ctx->engine));
		if (piece < 16 * MIB)
			piece = 16 * MIB;
		if (piece > GIB)
			piece = GIB;
	}
	return (piece + align - 1) / align * align;
}

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
	int error;

	error = vfb_memory_populate_range(populate->memory, populate->offset, populate->bytes,
					  populate->node, job);
	if (!error)
		atomic_fetch_add(&job->bytes_done, populate->bytes);
	else if (error != -ECANCELED)
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

static size_t count_pieces(const struct vfb_memory *memory)
{
	uint64_t piece = vfb_memory_piece_bytes(memory, 0, memory->bytes, 0);

	return (memory->bytes + piece - 1) / piece;
}

static void add_pieces(struct populate_job *populate, struct vfb_memory *memory)
{
	uint64_t piece = vfb_memory_piece_bytes(memory, 0, memory->bytes, 0);

	for (uint64_t offset = 0; offset < memory->bytes; offset += piece) {
		uint64_t left = memory->bytes - offset;

		populate->tasks[populate->task_count++] = (struct populate_task){
			.task = {.run = run_populate, .span = populate->job.span.id},
			.owner = populate,
			.memory = memory,
			.offset = offset,
			.bytes = left < piece ? left : piece,
			.node = vfb_memory_node(memory, offset / piece),
		};
	}
	populate->job.bytes += memory->bytes;
}

int vfb_memory_populate_start(struct vfb_memory *const *memories, size_t count,
			      struct vfb_job **out)
{
	struct vfb_ctx *ctx = count ? memories[0]->ctx : NULL;
	struct populate_job *populate;
	size_t pieces = 0;
	int error;

	*out = NULL;
	if (!count)
		return vfb_fail(-EINVAL, "no memory was given to populate");
	for (size_t i = 0; i < count; i++) {
		if (memories[i]->ctx != ctx)
			return vfb_fail(-EINVAL, "memory %zu is of another context", i);
		pieces += count_pieces(memories[i]);
	}
	populate = calloc(1, sizeof(*populate));
	if (!populate)
		return vfb_fail_memory();
	populate->memories = calloc(count, sizeof(*populate->memories));
	populate->tasks = calloc(pieces, sizeof(*populate->tasks));
	populate->job.sys = ctx->sys;
	populate->job.observer = &ctx->observer;
	populate->job.operation = "populate";
	populate->job.finish = finish_populate;
	populate->job.free = free_populate;
	populate->job.entries = count;
	populate->job.cancellable = true;
	error = populate->memories && populate->tasks ?
			vfb_job_init(&populate->job, &ctx->objects) :
			vfb_fail_memory();
	if (error) {
		free_populate(&populate->job);
		return error;
	}
	populate->memory_count = count;
	for (size_t i = 0; i < count; i++) {
		populate->memories[i] = memories[i];
		atomic_fetch_add(&memories[i]->users, 1);
		add_pieces(populate, memories[i]);
	}
	/* Fewer than were counted when another job has populated it meanwhile. */
	for (size_t i = 0; i < populate->task_count; i++) {
		vfb_job_hold(&populate->job);
		vfb_engine_submit(ctx->engine, &populate->tasks[i].task, populate->tasks[i].node);
	}
	*out = &populate->job;
	vfb_job_release(&populate->job);
	return 0;
}

int vfb_memory_populate(struct vfb_memory *memory)
{
	struct vfb_job *job;
	int error = vfb_observe_check_wait();

	if (!error)
		error = vfb_memory_populate_start(&memory, 1, &job);

	return error ? error : vfb_job_complete(job);
}
