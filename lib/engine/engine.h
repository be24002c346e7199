/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_H
#define VFB_ENGINE_H

#include <stddef.h>

#include "sys/sys.h"

/* The node of a task that any worker may run. */
#define VFB_ANY_NODE (-1)

/*
 * A piece of work, embedded in an object of its owner. It may be freed or submitted again as soon
 * as it has run for the last time.
 */
struct vfb_task {
	/* Used by the engine while the task is queued. */
	struct vfb_task *next;
	void (*run)(struct vfb_task *task);
	/* Parent of the spans of its work: the span of its job. */
	uint64_t span;
	/* How many times it runs, in as many threads as are free; 0 means once. */
	unsigned int runs;
};

/*
 * The threads of a context. Workers compute: there is one per CPU, bound to the CPUs of its NUMA
 * node. Sleepers wait in the kernel for device resets: there are as many as there are resets to
 * wait for. Neither runs a task with a lock held.
 */
struct vfb_engine;

/* @threads: number of workers; 0: as many as the caller's affinity and cgroup quota allow. */
int vfb_engine_create(const struct vfb_sys *sys, unsigned int threads, struct vfb_engine **out);

/*
 * Starts all threads that may be needed later, among them @sleepers, so that none is started after
 * that: whoever needs more waits. -EINVAL: too many.
 */
int vfb_engine_create_all(struct vfb_engine *engine, unsigned int sleepers);

/* No task may be queued or running. */
void vfb_engine_destroy(struct vfb_engine *engine);

unsigned int vfb_engine_workers(const struct vfb_engine *engine);
/* The number of possible nodes of the machine. */
unsigned int vfb_engine_nodes(const struct vfb_engine *engine);

/* Queues a task for the workers of @node, or for any worker when the node has none. */
void vfb_engine_submit(struct vfb_engine *engine, struct vfb_task *task, int node);

/*
 * Makes sure that there are @count sleepers in addition to those already reserved, or fewer if the
 * system refuses to create more. Fails, and reserves nothing, if there are none at all.
 */
int vfb_engine_reserve_sleepers(struct vfb_engine *engine, unsigned int count);
void vfb_engine_release_sleepers(struct vfb_engine *engine, unsigned int count);

/* Queues a task for the sleepers. */
void vfb_engine_submit_sleeping(struct vfb_engine *engine, struct vfb_task *task);

/*
 * Makes sure that there is a thread for what follows a time limit, apart from workers and sleepers,
 * any number of which may hang in the kernel by then; and queues a task for it.
 */
int vfb_engine_reserve_late(struct vfb_engine *engine);
void vfb_engine_submit_late(struct vfb_engine *engine, struct vfb_task *task);

#endif
