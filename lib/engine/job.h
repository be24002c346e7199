/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_JOB_H
#define VFB_ENGINE_JOB_H

#include <stdatomic.h>
#include <vfioboost/job.h>

#include "engine/deadline.h"
#include "engine/engine.h"
#include "observe/error.h"
#include "observe/span.h"
#include "sys/sys.h"

struct vfb_ctx;

/* What one kind of job does. */
struct vfb_job_ops {
	/* For the subscribers: "map", "open". */
	const char *operation;
	bool cancellable;
	/*
	 * Called when the last hold is released, in the thread that released it: returns true when
	 * the job has ended; or hands out more work and returns false, to be called again.
	 */
	bool (*finish)(struct vfb_job *job);
	/* Frees what the job is part of, after it has ended. NULL for a job on its owner's stack.
	 */
	void (*free)(struct vfb_job *job);
	/* Describes with vfb_fail() what is unfinished at the deadline; the owner then no longer
	 * has to wait for it. NULL: the deadline cancels the job. */
	void (*report_late)(struct vfb_job *job);
	/* The status of an entry, -EINPROGRESS until it is known. NULL: entries have none. */
	int (*entry_status)(struct vfb_job *job, size_t entry);
	/* Somebody learns that an entry has succeeded. NULL: that changes nothing. */
	void (*show_entry)(struct vfb_job *job, size_t entry);
};

enum vfb_job_state {
	/* The result may still change. */
	VFB_JOB_RUNNING,
	/* The result stands, a cancel comes too late. */
	VFB_JOB_SETTLED,
	/* The deadline has passed: work goes on, and nobody waits for it. */
	VFB_JOB_LATE,
	/* As late, and the owner has destroyed it: whoever ends it frees it. */
	VFB_JOB_ABANDONED,
	VFB_JOB_ENDED,
};

/*
 * Work that others wait for. Whoever starts it holds it once, every task that it hands out holds
 * it, and ops->finish is called when the last hold is released.
 */
struct vfb_job {
	const struct vfb_job_ops *ops;
	struct vfb_ctx *ctx;
	const struct vfb_sys *sys;
	struct vfb_span span;
	uint64_t entries, bytes;
	atomic_uint_fast64_t entries_done, bytes_done;
	/* Set by the first failure that stops the job, and by a cancel: nothing new may begin. */
	atomic_bool stopped;
	/* Readable at the end; and when the job is ready, the same unless that comes before. */
	int event_fd, ready_fd;
	struct vfb_deadline deadline;
	/* Threads that wait for an entry. */
	atomic_uint watchers;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int holds;
	enum vfb_job_state state;
	int result;
	/* The result when all but the background was done, -EINPROGRESS until then. */
	int ready_result;
	char error[VFB_ERROR_BYTES];
	/* When progress was asked for first, 0 for never, and the bytes done then. */
	uint64_t first_look_ns, first_look_bytes;
};

/*
 * Prepares a job, which is zero but for what its owner keeps in it, and holds it once.
 * vfb_job_fini() undoes that, as long as nobody else has seen the job.
 */
int vfb_job_init(struct vfb_job *job, const struct vfb_job_ops *ops, struct vfb_ctx *ctx,
		 size_t entries);
void vfb_job_fini(struct vfb_job *job);

/* The job will be ready before it ends, and needs a file descriptor for that. */
int vfb_job_has_background(struct vfb_job *job);

/* Queues a task of the job, which holds it as often as it runs: release it each time. */
void vfb_job_submit(struct vfb_job *job, struct vfb_task *task, int node);
void vfb_job_submit_sleeping(struct vfb_job *job, struct vfb_task *task);

void vfb_job_hold(struct vfb_job *job);
void vfb_job_release(struct vfb_job *job);

/*
 * Notes a failure with this thread's error text; the first one is the job's result. Returns
 * @error. @stop: the rest of the job is not to begin.
 */
int vfb_job_fail(struct vfb_job *job, int error, bool stop);

/* Keeps this thread's error text as the warning of a job that succeeds in spite of it. */
void vfb_job_warn(struct vfb_job *job);

/*
 * The result, which no failure or cancel changes any more: for ops->finish, to decide between
 * keeping and undoing.
 */
int vfb_job_settle(struct vfb_job *job);

/*
 * Decides that what is done stays; false when the job was stopped before. @last: nothing else is
 * to be done; a cancel comes too late then.
 */
bool vfb_job_decide(struct vfb_job *job, bool last);

/* What is not in the background is done and decided. */
void vfb_job_announce_ready(struct vfb_job *job);

/* The status of an entry may have changed. */
void vfb_job_announce(struct vfb_job *job);

/*
 * Ends the job with -ETIMEDOUT after @timeout_ns, unless that is 0: cancels it, or reports that it
 * is late. Call it before anybody else sees the job.
 */
int vfb_job_set_timeout(struct vfb_job *job, uint64_t timeout_ns);

static inline bool vfb_job_stopped(struct vfb_job *job)
{
	return atomic_load_explicit(&job->stopped, memory_order_relaxed);
}

/* Waits for the end, frees the job and returns its result. */
int vfb_job_complete(struct vfb_job *job);

/* The synchronous form of @start, an expression that starts @job. */
#define vfb_job_sync(job, start) (vfb_observe_check_wait() ?: (start) ?: vfb_job_complete(job))

#endif
