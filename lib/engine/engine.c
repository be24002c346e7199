/* SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/queue.h"
#include "engine/quota.h"
#include "observe/error.h"
#include "observe/span.h"

#define MAX_WORKERS  4096
#define MAX_SLEEPERS 64

struct thread {
	struct vfb_engine *engine;
	struct pool *pool;
	pthread_t id;
	/* While it waits for a task: the next one that does, and what wakes it. */
	struct thread *next_idle;
	pthread_cond_t woken;
	bool is_idle;
};

/* Threads that share a queue. */
struct pool {
	struct vfb_queue queue;
	/* The last to become idle first: its caches are the warmest. */
	struct thread *idle;
	cpu_set_t cpus;
	unsigned int cpu_count;
	/* These are not all that the caller may use. */
	bool is_bound;
	unsigned int threads;
	/* Its threads are workers: they also take small tasks, and those for any worker. */
	bool works;
};

struct vfb_engine {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	bool stopping;
	/* Number of tasks that were submitted. */
	uint64_t submitted;
	/* Where the service of workers stands: the rank and turn of the task that began last. */
	int64_t rank;
	uint64_t turn;
	/* For any worker, and the node where one is woken next. */
	struct vfb_queue any;
	unsigned int next_node;
	/* One thread for small tasks, if no worker is idle. */
	struct pool small;
	struct thread small_thread;
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
	struct pool nodes[];
};

static struct vfb_task *take_work(struct vfb_engine *engine, struct pool *pool)
{
	struct vfb_task *task = vfb_queue_take(&engine->small.queue);
	bool own;

	if (task)
		return task;
	own = vfb_task_precedes(vfb_queue_first(&pool->queue), vfb_queue_first(&engine->any));
	task = vfb_queue_take(own ? &pool->queue : &engine->any);
	if (task) {
		engine->rank = task->rank;
		engine->turn = task->turn;
	}
	return task;
}

static void wait_idle(struct vfb_engine *engine, struct thread *thread)
{
	struct pool *pool = thread->pool;

	thread->next_idle = pool->idle;
	pool->idle = thread;
	thread->is_idle = true;
	while (thread->is_idle)
		engine->sys->cond_wait(engine->sys, &thread->woken, &engine->lock, UINT64_MAX);
}

/* Wakes one thread of a pool. Returns false if none is idle. */
static bool wake_one(struct vfb_engine *engine, struct pool *pool)
{
	struct thread *thread = pool->idle;

	if (!thread)
		return false;
	pool->idle = thread->next_idle;
	thread->is_idle = false;
	engine->sys->cond_signal(engine->sys, &thread->woken);
	return true;
}

/* Nodes take turns, so that their memory channels share the load. */
static bool wake_worker(struct vfb_engine *engine)
{
	for (unsigned int i = 0; i < engine->node_count; i++) {
		struct pool *pool = &engine->nodes[engine->next_node];

		engine->next_node = (engine->next_node + 1) % engine->node_count;
		if (wake_one(engine, pool))
			return true;
	}
	return false;
}

/* Returns the next task for a thread, or NULL if the engine is stopping. */
static struct vfb_task *wait_for_task(struct thread *thread)
{
	struct vfb_engine *engine = thread->engine;
	struct pool *pool = thread->pool;
	struct vfb_task *task;

	pthread_mutex_lock(&engine->lock);
	for (;;) {
		task = pool->works ? take_work(engine, pool) : vfb_queue_take(&pool->queue);
		if (task || engine->stopping)
			break;
		wait_idle(engine, thread);
	}
	pthread_mutex_unlock(&engine->lock);
	return task;
}

static void *run_thread(void *arg)
{
	struct thread *thread = arg;
	struct vfb_task *task;

	while ((task = wait_for_task(thread))) {
		vfb_observe_adopt(task->span);
		task->run(task);
	}
	return NULL;
}

static int start_thread(struct vfb_engine *engine, struct thread *thread, struct pool *pool,
			const char *name)
{
	const cpu_set_t *cpus = pool->is_bound ? &pool->cpus : NULL;
	int error;

	thread->engine = engine;
	thread->pool = pool;
	pthread_cond_init(&thread->woken, NULL);
	error = engine->sys->thread_create(engine->sys, name, cpus, run_thread, thread,
					   &thread->id);
	if (error)
		pthread_cond_destroy(&thread->woken);
	else
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
		pool->is_bound = pool->cpu_count && !CPU_EQUAL(&pool->cpus, &affinity);
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
	vfb_queue_init(&engine->any);
	vfb_queue_init(&engine->small.queue);
	vfb_queue_init(&engine->sleepers.queue);
	vfb_queue_init(&engine->late.queue);
	for (unsigned int node = 0; node < node_count; node++) {
		vfb_queue_init(&engine->nodes[node].queue);
		engine->nodes[node].works = true;
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

static void wake_all(struct vfb_engine *engine, struct pool *pool)
{
	while (wake_one(engine, pool))
		;
}

static void join_threads(struct vfb_engine *engine, struct thread *threads, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		engine->sys->thread_join(engine->sys, threads[i].id);
		pthread_cond_destroy(&threads[i].woken);
	}
}

void vfb_engine_destroy(struct vfb_engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->stopping = true;
	wake_all(engine, &engine->small);
	wake_all(engine, &engine->sleepers);
	wake_all(engine, &engine->late);
	for (unsigned int node = 0; node < engine->node_count; node++)
		wake_all(engine, &engine->nodes[node]);
	pthread_mutex_unlock(&engine->lock);
	join_threads(engine, engine->workers, engine->worker_count);
	join_threads(engine, &engine->small_thread, engine->small.threads);
	join_threads(engine, engine->sleeper_threads, engine->sleepers.threads);
	join_threads(engine, &engine->late_thread, engine->late.threads);
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

static void submit_locked(struct vfb_engine *engine, struct vfb_queue *queue, struct vfb_task *task)
{
	int64_t rank = task->share ? task->share->rank : 0;

	task->number = engine->submitted++;
	vfb_queue_add(queue, task, rank == engine->rank ? engine->turn : 0);
}

static int start_small_locked(struct vfb_engine *engine)
{
	if (engine->small.threads)
		return 0;
	return start_thread(engine, &engine->small_thread, &engine->small, "vfb-small");
}

/* If the thread cannot be started, a worker runs small tasks when it is free. */
static void wake_for_small_locked(struct vfb_engine *engine)
{
	if (!wake_worker(engine) && !wake_one(engine, &engine->small) && !engine->complete)
		start_small_locked(engine);
}

static void submit_small_locked(struct vfb_engine *engine, struct vfb_task *task)
{
	unsigned int runs = task->runs ? task->runs : 1;

	submit_locked(engine, &engine->small.queue, task);
	wake_for_small_locked(engine);
	while (--runs && wake_worker(engine))
		;
}

static void submit_work_locked(struct vfb_engine *engine, struct vfb_task *task, struct pool *pool)
{
	unsigned int runs = task->runs ? task->runs : 1;
	bool woken = true;

	submit_locked(engine, pool ? &pool->queue : &engine->any, task);
	while (runs-- && woken)
		woken = pool ? wake_one(engine, pool) : wake_worker(engine);
}

void vfb_engine_submit(struct vfb_engine *engine, struct vfb_task *task, int node)
{
	struct pool *pool = NULL;

	if (node >= 0 && (unsigned int)node < engine->node_count && engine->nodes[node].threads)
		pool = &engine->nodes[node];
	pthread_mutex_lock(&engine->lock);
	/* To wait for a worker of the node would take longer than memory that is far away. */
	if (task->small && !(pool && pool->idle))
		submit_small_locked(engine, task);
	else
		submit_work_locked(engine, task, pool);
	pthread_mutex_unlock(&engine->lock);
}

void vfb_engine_hurry(struct vfb_engine *engine, const struct vfb_share *share)
{
	bool found;

	pthread_mutex_lock(&engine->lock);
	found = vfb_queue_move(&engine->any, &engine->small.queue, share);
	for (unsigned int node = 0; node < engine->node_count; node++)
		if (vfb_queue_move(&engine->nodes[node].queue, &engine->small.queue, share))
			found = true;
	if (found)
		wake_for_small_locked(engine);
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
	error = start_sleepers_locked(engine, sleepers) ?: start_small_locked(engine);
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

static void submit_to_pool(struct vfb_engine *engine, struct vfb_task *task, struct pool *pool)
{
	unsigned int runs = task->runs ? task->runs : 1;

	pthread_mutex_lock(&engine->lock);
	submit_locked(engine, &pool->queue, task);
	/* There may be many threads: wake only as many as have something to do. */
	while (runs-- && wake_one(engine, pool))
		;
	pthread_mutex_unlock(&engine->lock);
}

void vfb_engine_submit_sleeping(struct vfb_engine *engine, struct vfb_task *task)
{
	submit_to_pool(engine, task, &engine->sleepers);
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
	submit_to_pool(engine, task, &engine->late);
}
