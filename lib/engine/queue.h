/* SPDX-License-Identifier: MIT */
#ifndef VFB_QUEUE_H
#define VFB_QUEUE_H

#include "engine/task.h"

/*
 * Tasks in the order in which they run: by rank, then by turn, then as they were submitted. The
 * turn of a task is the number of bytes that its job has been served when it begins (start-time
 * fair queueing), so that jobs advance side by side however many tasks each of them has queued.
 */
struct vfb_queue {
	RB_HEAD(vfb_task_tree, vfb_task) tasks;
	/* Of these, the first one: each worker that looks for a task asks for it. */
	struct vfb_task *first;
};

void vfb_queue_init(struct vfb_queue *queue);

/*
 * Queues a task behind what its share has been given so far. @turn: where the service of this rank
 * stands, in case nothing of the rank is queued: a job that begins now is not owed anything.
 */
void vfb_queue_add(struct vfb_queue *queue, struct vfb_task *task, uint64_t turn);

/* The next task, or NULL. */
static inline struct vfb_task *vfb_queue_first(const struct vfb_queue *queue)
{
	return queue->first;
}

/* Whether @task runs before @other; NULL runs after everything. */
bool vfb_task_precedes(const struct vfb_task *task, const struct vfb_task *other);

/* Moves the tasks of a share to another queue. Returns whether there were any. */
bool vfb_queue_move(struct vfb_queue *from, struct vfb_queue *to, const struct vfb_share *share);

/* Takes the first task, which stays in the queue until it has been taken as often as it runs. */
struct vfb_task *vfb_queue_take(struct vfb_queue *queue);

#endif
