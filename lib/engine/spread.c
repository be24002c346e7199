/* SPDX-License-Identifier: MIT */
#include "engine/spread.h"

#include "container_of.h"

static void run_spread(struct vfb_task *task)
{
	struct vfb_spread *spread = container_of(task, struct vfb_spread, task);
	size_t item;

	while ((item = atomic_fetch_add(&spread->next, 1)) < spread->count)
		spread->visit(spread, item);
	vfb_job_release(spread->job);
}

/* Returns false if there is nothing to do. */
static bool spread_prepare(struct vfb_spread *spread, struct vfb_job *job, size_t count,
			   unsigned int width,
			   void (*visit)(struct vfb_spread *spread, size_t item))
{
	spread->task = (struct vfb_task){.run = run_spread, .runs = count < width ? count : width};
	spread->job = job;
	spread->count = count;
	spread->visit = visit;
	atomic_store(&spread->next, 0);
	return spread->task.runs;
}

void vfb_spread(struct vfb_spread *spread, struct vfb_job *job, size_t count, unsigned int width,
		void (*visit)(struct vfb_spread *spread, size_t item))
{
	if (spread_prepare(spread, job, count, width, visit))
		vfb_job_submit(job, &spread->task, VFB_ANY_NODE);
}

void vfb_spread_sleeping(struct vfb_spread *spread, struct vfb_job *job, size_t count,
			 unsigned int width, void (*visit)(struct vfb_spread *spread, size_t item))
{
	if (spread_prepare(spread, job, count, width, visit))
		vfb_job_submit_sleeping(job, &spread->task);
}
