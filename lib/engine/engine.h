/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_H
#define VFB_ENGINE_H

#include <stddef.h>

#include "sys/sys.h"

/* For a task that any worker may run. */
#define VFB_ANY_NODE (-1)

/*
 * A piece of work, embedded in what its owner allocated. It may be freed, or submitted again, as
 * soon as it has run for the last time.
 */
struct vfb_task {
	/* The engine's, while the task is queued. */
	struct vfb_task *next;
	void (*run)(struct vfb_task *task);
	/* The span that its work is part of: its job's. */
	uint64_t span;
	/* How often it is run, by as many threads as are free; 0 means once. */
	unsigned int runs;
};

/*
 * The threads of a context. Workers compute: there is one for each CPU, bound to the CPUs of its
 * NUMA node. Sleepers wait inside the kernel, for devices to be reset: there are as many as there
 * is to wait for. Neither runs anything while a lock is held.
 */
struct vfb_engine;

/* @threads: how many workers, 0 for as many as affinity and cgroup quota of the caller keep busy.
 */
int vfb_engine_create(const struct vfb_sys *sys, unsigned int threads, struct vfb_engine **out);

/* Nothing may be queued or running. */
void vfb_engine_destroy(struct vfb_engine *engine);

unsigned int vfb_engine_workers(const struct vfb_engine *engine);

/* Queues a task for the workers of @node, or for any worker when the node has none. */
void vfb_engine_submit(struct vfb_engine *engine, struct vfb_task *task, int node);

/*
 * Makes sure that there are @count sleepers more than are reserved already; fewer when the system
 * refuses more, but an error, and nothing reserved, when there is none.
 */
int vfb_engine_reserve_sleepers(struct vfb_engine *engine, unsigned int count);
void vfb_engine_release_sleepers(struct vfb_engine *engine, unsigned int count);

/* Queues a task for the sleepers. */
void vfb_engine_submit_sleeping(struct vfb_engine *engine, struct vfb_task *task);

#endif
