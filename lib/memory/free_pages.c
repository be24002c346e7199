/* SPDX-License-Identifier: MIT */
/* Freeing the pages of memory by all workers: munmap() frees them in one thread. */
#include <stdlib.h>
#include <sys/mman.h>

#include "container_of.h"
#include "engine/spread.h"
#include "memory/memory.h"

/* Whole pages of any size but 1 GiB, and less than a millisecond of holding mmap_lock for reading.
 */
#define FREE_BYTES (64 * MIB)

struct free_job {
	struct vfb_job job;
	const struct vfb_memory *memory;
	uint64_t chunk;
	struct vfb_spread spread;
};

/* Where it fails, the caller's munmap() frees the pages: hugetlb before Linux 5.18. */
static void free_visit(struct vfb_spread *spread, size_t item)
{
	struct free_job *free_job = container_of(spread, struct free_job, spread);
	const struct vfb_memory *memory = free_job->memory;
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t offset = item * free_job->chunk, left = memory->bytes - offset;

	sys->madvise(sys, memory->address + offset, left < free_job->chunk ? left : free_job->chunk,
		     MADV_DONTNEED);
	atomic_fetch_add(&free_job->job.bytes_done,
			 left < free_job->chunk ? left : free_job->chunk);
}

static bool free_finish(struct vfb_job *job)
{
	vfb_job_settle(job);
	atomic_store(&job->entries_done, job->entries);
	return true;
}

static void free_dispose(struct vfb_job *job)
{
	free(container_of(job, struct free_job, job));
}

static const struct vfb_job_ops free_ops = {
	.operation = "free",
	.finish = free_finish,
	.free = free_dispose,
};

/* NULL: there are no resources for a job, or a callback must not wait for one. */
static struct free_job *free_make_job(const struct vfb_memory *memory)
{
	struct free_job *free_job = vfb_observe_check_wait() ? NULL : calloc(1, sizeof(*free_job));

	if (!free_job || !vfb_job_init(&free_job->job, &free_ops, memory->ctx, 1))
		return free_job;
	free(free_job);
	return NULL;
}

void vfb_memory_free_pages(const struct vfb_memory *memory)
{
	struct free_job *free_job = free_make_job(memory);
	size_t count;

	/* The caller's munmap() frees them. */
	if (!free_job)
		return;
	free_job->memory = memory;
	free_job->chunk = memory->page_bytes > FREE_BYTES ? memory->page_bytes : FREE_BYTES;
	free_job->job.bytes = memory->bytes;
	count = (memory->bytes + free_job->chunk - 1) / free_job->chunk;
	vfb_spread(&free_job->spread, &free_job->job, count,
		   vfb_engine_workers(memory->ctx->engine), free_visit);
	vfb_job_release(&free_job->job);
	vfb_job_complete(&free_job->job);
}
