/* SPDX-License-Identifier: MIT */
/*
 * The threads in which everything happens that the command does not ask for. A process gets them
 * when it first needs them, so that one that does not use VFIO stays as it is. The command itself
 * gets them before it installs a filter of system calls, which may kill it for calls of ours.
 */
#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vfioboost.h>

#include "container_of.h"
#include "context.h"
#include "preload.h"

/* As many devices are released at a time. */
#define THREADS_SLEEPERS 16

#define THREADS_END_NS UINT64_C(1000000000)

pthread_mutex_t preload_lock = PTHREAD_MUTEX_INITIALIZER;

/* The library in this process, and whether it was tried to have it. */
static struct vfb_ctx *context;
static bool threads_were_tried;
/* How many threads that made, and the thread that made them. */
static long threads_count;
static pid_t threads_creator;
/* Calls that they are doing for the command, which have to end first. */
static unsigned int threads_calls;
static pthread_cond_t threads_idle = PTHREAD_COND_INITIALIZER;
/* Whether a thread of this process has a filter of system calls. */
static atomic_bool threads_have_filter;

bool preload_is_filtered(void)
{
	struct vfb_field seccomp = {.name = "Seccomp", .base = 10};

	return vfb_sys_read_fields(&vfb_sys_linux, "/proc/thread-self/status", &seccomp, 1) ||
	       seccomp.value;
}

bool preload_has_filter(void)
{
	return atomic_load(&threads_have_filter);
}

void preload_set_filter(void)
{
	atomic_store(&threads_have_filter, true);
}

/* How many threads this process has: a folder has a link for each folder inside, and two more. */
static long threads_in_process(void)
{
	struct stat folder;

	return stat("/proc/self/task", &folder) ? 0 : (long)folder.st_nlink - 2;
}

/*
 * In a thread of its own, so that the heap of the command's thread stays as it is. The one that
 * uses VFIO may be bound to a CPU by now, or have a real-time priority, which threads inherit: this
 * one is as the process was when it started. The CPUs may have been taken away since.
 */
static void *threads_create(void *unused)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	long before = threads_in_process();

	preload_inside = true;
	threads_creator = gettid();
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
	sched_setaffinity(0, sizeof(preload_cpus), &preload_cpus);
	opts.threads = preload_settings.threads;
	if (vfb_ctx_create(&opts, &context)) {
		preload_remark(vfb_last_error());
	} else if (vfb_engine_reserve_sleepers(context->engine, THREADS_SLEEPERS)) {
		preload_remark(vfb_last_error());
		vfb_ctx_destroy(context);
		context = NULL;
	}
	threads_count = threads_in_process() - before;
	return unused;
}

/*
 * A thread disappears from /proc a moment before it has left the group, whose emptiness unshare(2)
 * looks at: __unhash_process() does both with tasklist_lock taken for writing. This takes it for
 * reading, and changes nothing; libc's waitid() would be a point of cancellation.
 */
static void threads_wait_for_unhash(void)
{
	siginfo_t unused;

	syscall(SYS_waitid, P_ALL, 0, &unused, WEXITED | WNOHANG | WNOWAIT, NULL);
}

/*
 * A thread that was joined is counted a moment longer: pthread_join(3) returns in the middle of
 * its end (mm_release()), before it has left the group (release_task()).
 */
static void threads_wait_for_creator(void)
{
	const struct timespec pause = {.tv_nsec = 100000};
	uint64_t end = preload_now() + THREADS_END_NS;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", threads_creator);
	while (!access(path, F_OK) && preload_now() < end)
		nanosleep(&pause, NULL);
	threads_wait_for_unhash();
}

static void threads_create_context(void)
{
	pthread_t thread;

	if (preload_has_filter()) {
		preload_remark("a seccomp filter was there before the first use of VFIO");
	} else if (pthread_create(&thread, NULL, threads_create, NULL)) {
		preload_remark("no thread can be created");
	} else {
		pthread_join(thread, NULL);
		threads_wait_for_creator();
	}
}

static struct vfb_ctx *threads_get_locked(void)
{
	if (!threads_were_tried) {
		threads_were_tried = true;
		threads_create_context();
	}
	return context;
}

struct vfb_ctx *preload_context(void)
{
	struct vfb_ctx *ctx;

	if (preload_process_is_bare()) {
		preload_remark("a process that was not made by fork(3) is only watched");
		return NULL;
	}
	pthread_mutex_lock(&preload_lock);
	ctx = threads_get_locked();
	pthread_mutex_unlock(&preload_lock);
	return ctx;
}

/* The same for a call, until threads_release(). */
static struct vfb_ctx *threads_use(void)
{
	struct vfb_ctx *ctx = preload_context();

	if (!ctx)
		return NULL;
	pthread_mutex_lock(&preload_lock);
	/* They may have been ended meanwhile. */
	ctx = threads_get_locked();
	threads_calls += ctx != NULL;
	pthread_mutex_unlock(&preload_lock);
	return ctx;
}

static void threads_release(void)
{
	pthread_mutex_lock(&preload_lock);
	if (!--threads_calls)
		pthread_cond_broadcast(&threads_idle);
	pthread_mutex_unlock(&preload_lock);
}

/* Joined threads are counted a moment longer, as the creator. */
static void threads_wait_for_end(long left)
{
	const struct timespec pause = {.tv_nsec = 100000};
	uint64_t end = preload_now() + THREADS_END_NS;

	/* A filter may forbid to look. */
	if (preload_has_filter())
		return;
	while (threads_in_process() > left && preload_now() < end)
		nanosleep(&pause, NULL);
	threads_wait_for_unhash();
}

void preload_end_threads(void)
{
	long left;

	pthread_mutex_lock(&preload_lock);
	while (threads_calls)
		pthread_cond_wait(&threads_idle, &preload_lock);
	if (context) {
		left = preload_has_filter() ? 0 : threads_in_process() - threads_count;
		vfb_engine_release_sleepers(context->engine, THREADS_SLEEPERS);
		vfb_ctx_destroy(context);
		threads_wait_for_end(left);
	}
	context = NULL;
	threads_were_tried = false;
	pthread_mutex_unlock(&preload_lock);
}

void preload_forget_threads(void)
{
	context = NULL;
	threads_were_tried = false;
	threads_calls = 0;
	threads_idle = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

static void threads_run_call(struct vfb_task *task)
{
	struct preload_call *call = container_of(task, struct preload_call, task);

	preload_inside = true;
	call->run(call->arg);
	sem_post(&call->done);
}

bool preload_start(struct preload_call *call, void (*run)(void *arg), void *arg)
{
	struct vfb_ctx *ctx = threads_use();

	if (!ctx)
		return false;
	*call = (struct preload_call){.task.run = threads_run_call, .run = run, .arg = arg};
	sem_init(&call->done, 0, 0);
	vfb_engine_submit_sleeping(ctx->engine, &call->task);
	return true;
}

void preload_wait(struct preload_call *call)
{
	while (sem_wait(&call->done))
		;
	sem_destroy(&call->done);
	threads_release();
}

bool preload_run(void (*run)(void *arg), void *arg)
{
	struct preload_call call;
	bool started = preload_start(&call, run, arg);

	if (started)
		preload_wait(&call);
	return started;
}
