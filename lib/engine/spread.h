/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_SPREAD_H
#define VFB_ENGINE_SPREAD_H

#include "engine/job.h"

/*
 * Items that the threads of a job take from a counter until none is left. Embedded in an object of
 * the job's owner; may be reused once the job finishes.
 */
struct vfb_spread {
	struct vfb_task task;
	struct vfb_job *job;
	/* The items, and how many a run visits before other jobs have their turn. */
	size_t count, chunk;
	atomic_size_t next;
	void (*visit)(struct vfb_spread *spread, size_t item);
};

/* Visits items 0 to @count - 1 on at most @width workers or sleepers. */
void vfb_spread(struct vfb_spread *spread, struct vfb_job *job, size_t count, unsigned int width,
		void (*visit)(struct vfb_spread *spread, size_t item));
/* The same on workers of a node. */
void vfb_spread_on(struct vfb_spread *spread, struct vfb_job *job, size_t count, unsigned int width,
		   int node, void (*visit)(struct vfb_spread *spread, size_t item));
void vfb_spread_sleeping(struct vfb_spread *spread, struct vfb_job *job, size_t count,
			 unsigned int width, void (*visit)(struct vfb_spread *spread, size_t item));

#endif
