/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_JOB_H
#define VFB_ENGINE_JOB_H

#include <stdatomic.h>
#include <vfioboost/job.h>

#include "observe/error.h"
#include "observe/span.h"
#include "sys/sys.h"

/*
 * Work that others wait for. It begins held once, by whoever starts it; every task it hands out
 * holds it. When the last hold is released, @finish is called, in the thread that released it:
 * it returns true when the job has ended, or hands out more work and returns false; then it is
 * called again.
 */
struct vfb_job {
	const struct vfb_sys *sys;
	struct vfb_observer *observer;
	/* What it does, in a word for the subscribers. */
	const char *operation;
	struct vfb_span span;
	/* Counts the objects of the context; the job is one. */
	atomic_uint *objects;
	bool (*finish)(struct vfb_job *job);
	/* Frees what the job is part of, after it has ended. */
	void (*free)(struct vfb_job *job);
	uint64_t entries, bytes;
	atomic_uint_fast64_t entries_done, bytes_done;
	/* Set by the first failure and by a cancel: what has not begun is not to begin. */
	atomic_bool stopped;
	bool cancellable;
	int event_fd;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int holds;
	/* When progress was asked for first, 0 for never, and the bytes done then. */
	uint64_t first_look_ns, first_look_bytes;
	/* The result stands, a cancel comes too late. */
	bool settled;
	bool ended;
	int result;
	char error[VFB_ERROR_BYTES];
};

/* Fills in a job that has sys, observer, operation, finish and free set, and holds it once. */
int vfb_job_init(struct vfb_job *job, atomic_uint *objects);

/* Undoes vfb_job_init() of a job that nobody has seen. */
void vfb_job_fini(struct vfb_job *job);

void vfb_job_hold(struct vfb_job *job);
void vfb_job_release(struct vfb_job *job);

/*
 * Notes a failure with this thread's error text; the first one is the job's result. Returns
 * @error. @stop: the rest of the job is not to begin.
 */
int vfb_job_fail(struct vfb_job *job, int error, bool stop);

/*
 * The result, which no failure or cancel changes any more; to be asked by @finish when it decides
 * between keeping and undoing.
 */
int vfb_job_settle(struct vfb_job *job);

static inline bool vfb_job_stopped(struct vfb_job *job)
{
	return atomic_load_explicit(&job->stopped, memory_order_relaxed);
}

/* Waits for the end, frees the job and returns its result: the synchronous form of a job. */
int vfb_job_complete(struct vfb_job *job);

#endif
