/* SPDX-License-Identifier: MIT */
#ifndef VFB_TASK_H
#define VFB_TASK_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdint.h>

/* What a job has been given of the threads. */
struct vfb_share {
	/* Tasks of a higher rank run first. */
	int64_t rank;
	/* The bytes for which tasks were queued so far. The engine's. */
	uint64_t turn;
};

/*
 * A piece of work, embedded in an object of its owner. It may be freed or submitted again as soon
 * as it has run for the last time.
 */
struct vfb_task {
	void (*run)(struct vfb_task *task);
	/* Parent of the spans of its work: the span of its job. */
	uint64_t span;
	/* How many times it runs, in as many threads as are free; 0 means once. */
	unsigned int runs;
	/* What one run works on: jobs take turns by it. */
	uint64_t bytes;
	/* Its job has little work: it runs before others, anywhere. */
	bool small;
	/* It does not wait for the tasks that its job has queued before. */
	bool ahead;
	/* Of its job. NULL: it runs in the order in which it was submitted. */
	struct vfb_share *share;
	/* Used by the engine while the task is queued. */
	RB_ENTRY(vfb_task) link;
	int64_t rank;
	uint64_t turn, number;
};

#endif
