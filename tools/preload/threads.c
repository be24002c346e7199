/* SPDX-License-Identifier: MIT */
/*
 * The threads in which everything happens that the command does not ask for. They are made before
 * the command can have installed a filter of system calls, which may kill it for calls of ours.
 */
#include <semaphore.h>
#include <vfioboost.h>

#include "container_of.h"
#include "context.h"
#include "preload.h"

/* As many devices are let go at a time. */
#define SLEEPERS 16

pthread_mutex_t preload_lock = PTHREAD_MUTEX_INITIALIZER;

/* The library in this process, and whether it was tried to have it. */
static struct vfb_ctx *context;
static bool tried;

bool preload_is_filtered(void)
{
	struct vfb_field seccomp = {.name = "Seccomp", .base = 10};

	return vfb_sys_read_fields(&vfb_sys_linux, "/proc/thread-self/status", &seccomp, 1) ||
	       seccomp.value;
}

static void create_context(void)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;

	opts.threads = preload_settings.threads;
	if (preload_is_filtered())
		preload_remark("a seccomp filter was there before the first use of VFIO");
	else if (vfb_ctx_create(&opts, &context) ||
		 vfb_engine_reserve_sleepers(context->engine, SLEEPERS))
		preload_remark(vfb_last_error());
}

struct vfb_ctx *preload_context(void)
{
	struct vfb_ctx *ctx;

	if (preload_process_is_bare()) {
		preload_remark("a process that was not made by fork(3) is only watched");
		return NULL;
	}
	pthread_mutex_lock(&preload_lock);
	if (!tried) {
		tried = true;
		create_context();
	}
	ctx = context;
	pthread_mutex_unlock(&preload_lock);
	return ctx;
}

void preload_end_threads(void)
{
	pthread_mutex_lock(&preload_lock);
	if (context)
		vfb_engine_release_sleepers(context->engine, SLEEPERS);
	vfb_ctx_destroy(context);
	preload_forget_threads();
	pthread_mutex_unlock(&preload_lock);
}

void preload_forget_threads(void)
{
	context = NULL;
	tried = false;
}

static void run_call(struct vfb_task *task)
{
	struct preload_call *call = container_of(task, struct preload_call, task);

	preload_inside = true;
	call->run(call->arg);
	sem_post(&call->done);
}

bool preload_start(struct preload_call *call, void (*run)(void *arg), void *arg)
{
	struct vfb_ctx *ctx = preload_context();

	if (!ctx)
		return false;
	*call = (struct preload_call){.task.run = run_call, .run = run, .arg = arg};
	sem_init(&call->done, 0, 0);
	vfb_engine_submit_sleeping(ctx->engine, &call->task);
	return true;
}

void preload_wait(struct preload_call *call)
{
	while (sem_wait(&call->done))
		;
	sem_destroy(&call->done);
}

bool preload_run(void (*run)(void *arg), void *arg)
{
	struct preload_call call;
	bool started = preload_start(&call, run, arg);

	if (started)
		preload_wait(&call);
	return started;
}
