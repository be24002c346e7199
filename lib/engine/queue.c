/* SPDX-License-Identifier: MIT */
#include "engine/queue.h"

#include <stddef.h>

/* By rank, the highest first, then by turn and number. */
static int compare_tasks(struct vfb_task *a, struct vfb_task *b)
{
	if (a->rank != b->rank)
		return a->rank > b->rank ? -1 : 1;
	if (a->turn != b->turn)
		return a->turn < b->turn ? -1 : 1;
	return (a->number > b->number) - (a->number < b->number);
}

RB_PROTOTYPE(vfb_task_tree, vfb_task, link, compare_tasks)
RB_GENERATE(vfb_task_tree, vfb_task, link, compare_tasks)

void vfb_queue_init(struct vfb_queue *queue)
{
	RB_INIT(&queue->tasks);
	queue->first = NULL;
}

static void queue_insert(struct vfb_queue *queue, struct vfb_task *task)
{
	if (!queue->first || compare_tasks(task, queue->first) < 0)
		queue->first = task;
	RB_INSERT(vfb_task_tree, &queue->tasks, task);
}

static void queue_remove(struct vfb_queue *queue, struct vfb_task *task)
{
	if (task == queue->first)
		queue->first = RB_NEXT(vfb_task_tree, &queue->tasks, task);
	RB_REMOVE(vfb_task_tree, &queue->tasks, task);
}

/* The turn of the first queued task of a rank, or @turn. */
static uint64_t queue_turn(struct vfb_queue *queue, int64_t rank, uint64_t turn)
{
	struct vfb_task key = {.rank = rank};
	struct vfb_task *first = RB_NFIND(vfb_task_tree, &queue->tasks, &key);

	return first && first->rank == rank ? first->turn : turn;
}

void vfb_queue_add(struct vfb_queue *queue, struct vfb_task *task, uint64_t turn)
{
	struct vfb_share *share = task->share;

	task->rank = share ? share->rank : 0;
	task->turn = queue_turn(queue, task->rank, turn);
	if (share && !task->ahead) {
		if (task->turn < share->turn)
			task->turn = share->turn;
		share->turn = task->turn + task->bytes * (task->runs ? task->runs : 1);
	}
	queue_insert(queue, task);
}

bool vfb_task_precedes(const struct vfb_task *task, const struct vfb_task *other)
{
	if (!task || !other)
		return task;
	return compare_tasks((struct vfb_task *)task, (struct vfb_task *)other) < 0;
}

bool vfb_queue_move(struct vfb_queue *from, struct vfb_queue *to, const struct vfb_share *share)
{
	struct vfb_task *task, *next;
	bool found = false;

	RB_FOREACH_SAFE(task, vfb_task_tree, &from->tasks, next)
	{
		if (task->share != share)
			continue;
		queue_remove(from, task);
		queue_insert(to, task);
		found = true;
	}
	return found;
}

struct vfb_task *vfb_queue_take(struct vfb_queue *queue)
{
	struct vfb_task *task = vfb_queue_first(queue);

	if (!task)
		return NULL;
	queue_remove(queue, task);
	if (task->runs > 1) {
		task->runs--;
		task->turn += task->bytes;
		queue_insert(queue, task);
	}
	return task;
}
