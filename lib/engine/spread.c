/* SPDX-License-Identifier: MIT */
#include "engine/spread.h"

#include "container_of.h"
#include "context.h"

/* Runs for each worker: the last to finish is late by a sixteenth at most. */
#define RUNS_PER_WORKER 16

static void run_spread(struct vfb_task *task)
{
	struct vfb_spread *spread = container_of(task, struct vfb_spread, task);
	size_t item;

	for (size_t i = 0; i < spread->chunk; i++) {
		item = atomic_fetch_add(&spread->next, 1);
		if (item >= spread->count)
			break;
		spread->visit(spread, item);
	}
	vfb_job_release(spread->job);
}

static unsigned int smaller(size_t count, size_t limit)
{
	return count < limit ? count : limit;
}

/* Returns false if there is nothing to do. */
static bool spread_prepare(struct vfb_spread *spread, struct vfb_job *job, size_t count,
			   unsigned int runs, void (*visit)(struct vfb_spread *spread, size_t item))
{
	if (!runs)
		return false;
	spread->task = (struct vfb_task){
		.run = run_spread,
		.runs = runs,
		.bytes = job->bytes / runs,
	};
	spread->job = job;
	spread->count = count;
	spread->chunk = (count + runs - 1) / runs;
	spread->visit = visit;
	atomic_store(&spread->next, 0);
	return true;
}

void vfb_spread_on(struct vfb_spread *spread, struct vfb_job *job, size_t count, unsigned int width,
		   int node, void (*visit)(struct vfb_spread *spread, size_t item))
{
	/* Fewer than all workers, or a worker after another. */
	unsigned int runs = smaller(count, width), workers = vfb_engine_workers(job->ctx->engine);

	if (width >= workers)
		runs = smaller(count, (size_t)workers * RUNS_PER_WORKER);
	if (spread_prepare(spread, job, count, runs, visit))
		vfb_job_submit(job, &spread->task, node);
}

void vfb_spread(struct vfb_spread *spread, struct vfb_job *job, size_t count, unsigned int width,
		void (*visit)(struct vfb_spread *spread, size_t item))
{
	vfb_spread_on(spread, job, count, width, VFB_ANY_NODE, visit);
}

void vfb_spread_sleeping(struct vfb_spread *spread, struct vfb_job *job, size_t count,
			 unsigned int width, void (*visit)(struct vfb_spread *spread, size_t item))
{
	if (spread_prepare(spread, job, count, smaller(count, width), visit))
		vfb_job_submit_sleeping(job, &spread->task);
}
