/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_H
#define VFB_ENGINE_H

#include <stddef.h>

#include "engine/task.h"
#include "sys/sys.h"

/* The node of a task that any worker may run. */
#define VFB_ANY_NODE (-1)

/*
 * The threads of a context. Workers compute: there is one per CPU, bound to the CPUs of its NUMA
 * node. Sleepers wait in the kernel for device resets: there are as many as there are resets to
 * wait for. One more thread does what jobs with little work need while all workers are busy: a
 * worker may take long to finish its task, but a thread that wakes gets a CPU soon. None of them
 * runs a task with a lock held.
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

/*
 * Queues a task for the workers of @node, or for any worker if the node has none. A small task that
 * would have to wait for them goes to any worker, or to the thread that is kept for it.
 */
void vfb_engine_submit(struct vfb_engine *engine, struct vfb_task *task, int node);

/* The job has stopped, so that its tasks have little to do: those queued for workers run soon. */
void vfb_engine_hurry(struct vfb_engine *engine, const struct vfb_share *share);

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
