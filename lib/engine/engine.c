/* SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/quota.h"
#include "observe/error.h"
#include "observe/span.h"

#define MAX_WORKERS  4096
#define MAX_SLEEPERS 64

struct queue {
	struct vfb_task *head, **tail;
};

/* Threads that share a queue. */
struct pool {
	struct queue queue;
	pthread_cond_t filled;
	cpu_set_t cpus;
	unsigned int cpu_count;
	unsigned int threads;
	/* Threads that wait, without those that were woken and do not run yet. */
	unsigned int idle, woken;
	/* Its threads also take tasks of the queue for any worker. */
	bool takes_any;
};

struct thread {
	struct vfb_engine *engine;
	struct pool *pool;
	pthread_t id;
};

struct vfb_engine {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	bool stopping;
	/* For any worker whose pool has an empty queue. */
	struct queue any;
	struct pool sleepers;
	struct thread sleeper_threads[MAX_SLEEPERS];
	unsigned int reserved_sleepers;
	/* One thread, for what follows a time limit: all sleepers may be waiting for devices. */
	struct pool late;
	struct thread late_thread;
	/* There are all threads that there may be. */
	bool complete;
	struct thread *workers;
	unsigned int worker_count;
	unsigned int node_count;
	/* The node whose workers are woken next for a task that any worker may run. */
	unsigned int next_node;
	struct pool nodes[];
};

static void queue_init(struct queue *queue)
{
	queue->head = NULL;
	queue->tail = &queue->head;
}

static void queue_append(struct queue *queue, struct vfb_task *task)
{
	task->next = NULL;
	*queue->tail = task;
	queue->tail = &task->next;
}

/* A task stays at the head until it has been taken as often as it is to run. */
static struct vfb_task *queue_take(struct queue *queue)
{
	struct vfb_task *task = queue->head;

	if (!task)
		return NULL;
	if (task->runs > 1) {
		task->runs--;
		return task;
	}
	queue->head = task->next;
	if (!queue->head)
		queue->tail = &queue->head;
	return task;
}

static void pool_init(struct pool *pool)
{
	queue_init(&pool->queue);
	pthread_cond_init(&pool->filled, NULL);
}

static void pool_wait_locked(struct vfb_engine *engine, struct pool *pool)
{
	pool->idle++;
	engine->sys->cond_wait(engine->sys, &pool->filled, &engine->lock, UINT64_MAX);
	/* It was woken, or has woken without a reason. */
	if (pool->woken)
		pool->woken--;
	else
		pool->idle--;
}

/* Wakes a thread that waits. If there is none, one will look at the queue when its task is done. */
static bool pool_wake_locked(struct vfb_engine *engine, struct pool *pool)
{
	if (!pool->idle)
		return false;
	pool->idle--;
	pool->woken++;
	engine->sys->cond_signal(engine->sys, &pool->filled);
	return true;
}

/* Returns the next task for a thread of @pool, or NULL if the engine is stopping. */
static struct vfb_task *wait_for_task(struct vfb_engine *engine, struct pool *pool)
{
	struct vfb_task *task;

	pthread_mutex_lock(&engine->lock);
	for (;;) {
		task = queue_take(&pool->queue);
		if (!task && pool->takes_any)
			task = queue_take(&engine->any);
		if (task || engine->stopping)
			break;
		pool_wait_locked(engine, pool);
	}
	pthread_mutex_unlock(&engine->lock);
	return task;
}

static void *run_thread(void *arg)
{
	struct thread *thread = arg;
	struct vfb_task *task;

	while ((task = wait_for_task(thread->engine, thread->pool))) {
		vfb_observe_adopt(task->span);
		task->run(task);
	}
	return NULL;
}

static int start_thread(struct vfb_engine *engine, struct thread *thread, struct pool *pool,
			const char *name)
{
	const cpu_set_t *cpus = pool->cpu_count ? &pool->cpus : NULL;
	int error;

	thread->engine = engine;
	thread->pool = pool;
	error = engine->sys->thread_create(engine->sys, name, cpus, run_thread, thread,
					   &thread->id);
	if (!error)
		pool->threads++;
	return error;
}

/* The CPUs on each node that the caller may use. */
static int find_cpus(struct vfb_engine *engine)
{
	const struct vfb_sys *sys = engine->sys;
	cpu_set_t affinity;
	int error;

	error = sys->get_affinity(sys, &affinity);
	if (error)
		return vfb_fail_errno(error, "cannot read the CPU affinity");
	for (unsigned int node = 0; node < engine->node_count; node++) {
		struct pool *pool = &engine->nodes[node];

		error = sys->node_cpus(sys, node, &pool->cpus);
		if (error == -ENOENT)
			continue;
		if (error)
			return vfb_fail_errno(error, "cannot read the CPUs of node %u", node);
		CPU_AND(&pool->cpus, &pool->cpus, &affinity);
		pool->cpu_count = CPU_COUNT(&pool->cpus);
	}
	return 0;
}

/* Where one more worker helps most: the node with the most CPUs per worker. */
static struct pool *next_pool(struct vfb_engine *engine)
{
	struct pool *best = &engine->nodes[0];

	for (unsigned int node = 1; node < engine->node_count; node++) {
		struct pool *pool = &engine->nodes[node];

		if (pool->cpu_count * (best->threads + 1) > best->cpu_count * (pool->threads + 1))
			best = pool;
	}
	return best;
}

static int start_workers(struct vfb_engine *engine, unsigned int count)
{
	char name[16];

	engine->workers = calloc(count, sizeof(*engine->workers));
	if (!engine->workers)
		return vfb_fail_memory();
	while (engine->worker_count < count) {
		struct pool *pool = next_pool(engine);
		int error;

		snprintf(name, sizeof(name), "vfb-n%u-%u", (unsigned int)(pool - engine->nodes),
			 pool->threads);
		error = start_thread(engine, &engine->workers[engine->worker_count], pool, name);
		if (error)
			return vfb_fail_errno(error,
					      "cannot start worker %u of %u: raise RLIMIT_NPROC or "
					      "pids.max of the cgroup, or request fewer threads",
					      engine->worker_count + 1, count);
		engine->worker_count++;
	}
	return 0;
}

static unsigned int default_workers(const struct vfb_engine *engine)
{
	unsigned int cpus = 0, quota = vfb_quota_cpus(engine->sys);

	for (unsigned int node = 0; node < engine->node_count; node++)
		cpus += engine->nodes[node].cpu_count;
	if (cpus > quota)
		cpus = quota;
	return cpus ? cpus : 1;
}

int vfb_engine_create(const struct vfb_sys *sys, unsigned int threads, struct vfb_engine **out)
{
	int error, max_node = sys->max_node(sys);
	unsigned int node_count;
	struct vfb_engine *engine;

	*out = NULL;
	if (threads > MAX_WORKERS)
		return vfb_fail(-EINVAL, "%u threads are more than the limit of %d: request fewer",
				threads, MAX_WORKERS);
	if (max_node < 0)
		return vfb_fail_errno(max_node, "cannot read which NUMA nodes there are");
	node_count = max_node + 1;
	engine = calloc(1, sizeof(*engine) + node_count * sizeof(engine->nodes[0]));
	if (!engine)
		return vfb_fail_memory();
	engine->sys = sys;
	engine->node_count = node_count;
	pthread_mutex_init(&engine->lock, NULL);
	queue_init(&engine->any);
	pool_init(&engine->sleepers);
	pool_init(&engine->late);
	for (unsigned int node = 0; node < node_count; node++) {
		pool_init(&engine->nodes[node]);
		engine->nodes[node].takes_any = true;
	}

	error = find_cpus(engine);
	if (!error)
		error = start_workers(engine, threads ? threads : default_workers(engine));
	if (error) {
		vfb_engine_destroy(engine);
		return error;
	}
	*out = engine;
	return 0;
}

/* Nodes take turns, so that their memory channels share the load. */
static bool any_wake_locked(struct vfb_engine *engine)
{
	for (unsigned int i = 0; i < engine->node_count; i++) {
		struct pool *pool = &engine->nodes[engine->next_node];

		engine->next_node = (engine->next_node + 1) % engine->node_count;
		if (pool_wake_locked(engine, pool))
			return true;
	}
	return false;
}

static unsigned int task_runs(const struct vfb_task *task)
{
	return task->runs ? task->runs : 1;
}

void vfb_engine_destroy(struct vfb_engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->stopping = true;
	engine->sys->cond_broadcast(engine->sys, &engine->sleepers.filled);
	engine->sys->cond_broadcast(engine->sys, &engine->late.filled);
	for (unsigned int node = 0; node < engine->node_count; node++)
		engine->sys->cond_broadcast(engine->sys, &engine->nodes[node].filled);
	pthread_mutex_unlock(&engine->lock);
	for (unsigned int i = 0; i < engine->worker_count; i++)
		engine->sys->thread_join(engine->sys, engine->workers[i].id);
	for (unsigned int i = 0; i < engine->sleepers.threads; i++)
		engine->sys->thread_join(engine->sys, engine->sleeper_threads[i].id);
	if (engine->late.threads)
		engine->sys->thread_join(engine->sys, engine->late_thread.id);
	for (unsigned int node = 0; node < engine->node_count; node++)
		pthread_cond_destroy(&engine->nodes[node].filled);
	pthread_cond_destroy(&engine->sleepers.filled);
	pthread_cond_destroy(&engine->late.filled);
	pthread_mutex_destroy(&engine->lock);
	free(engine->workers);
	free(engine);
}

unsigned int vfb_engine_workers(const struct vfb_engine *engine)
{
	return engine->worker_count;
}

unsigned int vfb_engine_nodes(const struct vfb_engine *engine)
{
	return engine->node_count;
}

void vfb_engine_submit(struct vfb_engine *engine, struct vfb_task *task, int node)
{
	unsigned int runs = task_runs(task);
	struct pool *pool = NULL;

	if (node >= 0 && (unsigned int)node < engine->node_count && engine->nodes[node].threads)
		pool = &engine->nodes[node];
	pthread_mutex_lock(&engine->lock);
	queue_append(pool ? &pool->queue : &engine->any, task);
	while (runs && (pool ? pool_wake_locked(engine, pool) : any_wake_locked(engine)))
		runs--;
	pthread_mutex_unlock(&engine->lock);
}

static int start_sleepers_locked(struct vfb_engine *engine, unsigned int needed)
{
	struct pool *pool = &engine->sleepers;
	int error = 0;

	while (pool->threads < needed && pool->threads < MAX_SLEEPERS && !error)
		error = start_thread(engine, &engine->sleeper_threads[pool->threads], pool,
				     "vfb-sleeper");
	return error;
}

static int fail_sleepers(int error)
{
	return vfb_fail_errno(error, "cannot start a thread to wait for devices: raise "
				     "RLIMIT_NPROC or pids.max of the cgroup");
}

int vfb_engine_create_all(struct vfb_engine *engine, unsigned int sleepers)
{
	int error;

	if (sleepers > MAX_SLEEPERS)
		return vfb_fail(-EINVAL, "threads for %u devices are more than the limit of %d",
				sleepers, MAX_SLEEPERS);
	pthread_mutex_lock(&engine->lock);
	error = start_sleepers_locked(engine, sleepers);
	engine->complete = !error;
	pthread_mutex_unlock(&engine->lock);
	return error ? fail_sleepers(error) : vfb_engine_reserve_late(engine);
}

int vfb_engine_reserve_sleepers(struct vfb_engine *engine, unsigned int count)
{
	struct pool *pool = &engine->sleepers;
	unsigned int needed;
	int error = 0;

	pthread_mutex_lock(&engine->lock);
	needed = engine->reserved_sleepers + count;
	if (!engine->complete)
		error = start_sleepers_locked(engine, needed);
	if (pool->threads) {
		engine->reserved_sleepers = needed;
		error = 0;
	}
	pthread_mutex_unlock(&engine->lock);
	return error ? fail_sleepers(error) : 0;
}

void vfb_engine_release_sleepers(struct vfb_engine *engine, unsigned int count)
{
	pthread_mutex_lock(&engine->lock);
	engine->reserved_sleepers -= count;
	pthread_mutex_unlock(&engine->lock);
}

void vfb_engine_submit_sleeping(struct vfb_engine *engine, struct vfb_task *task)
{
	unsigned int runs = task_runs(task);

	pthread_mutex_lock(&engine->lock);
	queue_append(&engine->sleepers.queue, task);
	while (runs && pool_wake_locked(engine, &engine->sleepers))
		runs--;
	pthread_mutex_unlock(&engine->lock);
}

int vfb_engine_reserve_late(struct vfb_engine *engine)
{
	int error = 0;

	pthread_mutex_lock(&engine->lock);
	if (!engine->late.threads)
		error = start_thread(engine, &engine->late_thread, &engine->late, "vfb-late");
	pthread_mutex_unlock(&engine->lock);
	if (error)
		return vfb_fail_errno(error, "cannot start a thread for a batch's timeout: raise "
					     "RLIMIT_NPROC or pids.max of the cgroup");
	return 0;
}

void vfb_engine_submit_late(struct vfb_engine *engine, struct vfb_task *task)
{
	pthread_mutex_lock(&engine->lock);
	queue_append(&engine->late.queue, task);
	pool_wake_locked(engine, &engine->late);
	pthread_mutex_unlock(&engine->lock);
}
