/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_JOB_H
#define VFB_ENGINE_JOB_H

#include <stdatomic.h>
#include <vfioboost/job.h>

#include "engine/deadline.h"
#include "engine/engine.h"
#include "observe/error.h"
#include "observe/lanes.h"
#include "observe/span.h"
#include "sys/sys.h"

struct vfb_ctx;

/* A job of so many bytes is small: less than one worker would make of a larger one at a time. */
#define VFB_SMALL_BYTES (UINT64_C(16) << 20)

/* The operations of one kind of job. */
struct vfb_job_ops {
	/* Name in events: "map", "open". */
	const char *operation;
	bool cancellable;
	/*
	 * Called in the thread that releases the last hold. Returns true if the job has ended, or
	 * submits more work and returns false, to be called again.
	 */
	bool (*finish)(struct vfb_job *job);
	/* Frees the object that contains the job, after its end. NULL: it is on a stack. */
	void (*free)(struct vfb_job *job);
	/*
	 * The deadline has passed: calls vfb_job_end_late(), or has another thread call it, when
	 * the owner can go on with what is done. Runs in the thread of deadlines, and must not
	 * sleep. NULL: the deadline cancels the job.
	 */
	void (*expire)(struct vfb_job *job);
	/* The status of an entry, -EINPROGRESS until it is known. NULL: entries have none. */
	int (*entry_status)(struct vfb_job *job, size_t entry);
	/* Called when a caller learns that an entry has succeeded. May be NULL. */
	void (*show_entry)(struct vfb_job *job, size_t entry);
};

enum vfb_job_state {
	/* The result may still change. */
	VFB_JOB_RUNNING,
	/* The result is final: it is too late to cancel. */
	VFB_JOB_SETTLED,
	/* The deadline has passed: work continues, but the owner no longer waits. */
	VFB_JOB_LATE,
	/* Late, and destroyed by its owner: the thread that ends the job frees it. */
	VFB_JOB_ABANDONED,
	VFB_JOB_ENDED,
};

/*
 * Work that an owner waits for. Its starter holds it once, each task that it submits holds it, and
 * ops->finish is called when the last hold is released.
 */
struct vfb_job {
	const struct vfb_job_ops *ops;
	struct vfb_ctx *ctx;
	const struct vfb_sys *sys;
	struct vfb_span span;
	struct vfb_share share;
	uint64_t entries, bytes;
	/* All workers add to them. */
	atomic_uint_fast64_t entries_done, bytes_done;
	char apart_from_counts[VFB_CACHE_LINE];
	/*
	 * Set by the first failure that stops the job, or a cancel: no new work may begin. All
	 * workers look at it, for each page even, and nobody writes to its cache line meanwhile.
	 */
	atomic_bool stopped;
	/* Readable at the end, and when ready. The same file unless there is background work. */
	int event_fd, ready_fd;
	struct vfb_deadline deadline;
	/* Number of threads that wait for an entry. */
	atomic_uint watchers;
	char apart_from_lock[VFB_CACHE_LINE];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int holds;
	enum vfb_job_state state;
	int result;
	/* The result when all but the background was done; -EINPROGRESS before. */
	int ready_result;
	char error[VFB_ERROR_BYTES];
	/* Time of the first vfb_job_progress(), 0 if none, and the bytes done by then. */
	uint64_t first_look_ns, first_look_bytes;
	/* When a worker first found that it has no seccomp filter, 0: none did. */
	atomic_uint_fast64_t no_filter_ns;
};

/*
 * Initializes a zeroed job, and holds it once. vfb_job_fini() undoes that as long as no other
 * thread has access to the job.
 */
int vfb_job_init(struct vfb_job *job, const struct vfb_job_ops *ops, struct vfb_ctx *ctx,
		 size_t entries);
void vfb_job_fini(struct vfb_job *job);

/* The job will be ready before it ends: creates a file descriptor for that. */
int vfb_job_has_background(struct vfb_job *job);

/*
 * The rank of the tasks that are submitted from now on: jobs of a higher priority go first, and
 * work in the background, whatever its priority, last.
 */
void vfb_job_set_rank(struct vfb_job *job, int priority, bool background);

/* Submits a task, which holds the job once per run: each run must release it. */
void vfb_job_submit(struct vfb_job *job, struct vfb_task *task, int node);
void vfb_job_submit_sleeping(struct vfb_job *job, struct vfb_task *task);

void vfb_job_hold(struct vfb_job *job);
void vfb_job_release(struct vfb_job *job);

/*
 * Records a failure with this thread's error text. The first one is the result of the job. Returns
 * @error. @stop: no new work may begin.
 */
int vfb_job_fail(struct vfb_job *job, int error, bool stop);

/* Records this thread's error text as the warning of a job that succeeds nevertheless. */
void vfb_job_warn(struct vfb_job *job);

/*
 * Makes the result final and returns it, for ops->finish to decide between keeping and undoing the
 * work.
 */
int vfb_job_settle(struct vfb_job *job);

/*
 * Decides that the finished work is kept; returns false if the job was stopped before. @last: there
 * is no other work, so that it is too late to cancel.
 */
bool vfb_job_decide(struct vfb_job *job, bool last);

/* All work except the background is finished and kept. */
void vfb_job_announce_ready(struct vfb_job *job);

/* Wakes threads that wait for an entry, whose status may have changed. */
void vfb_job_announce(struct vfb_job *job);

/*
 * The owner no longer waits, while the work continues. If nothing has failed yet, the result is
 * -ETIMEDOUT with this thread's error text. Does nothing when the job is about to end.
 */
void vfb_job_end_late(struct vfb_job *job);

/*
 * Ends the job with -ETIMEDOUT after @timeout_ns, unless that is 0: cancels it, or calls
 * ops->expire. Call it before another thread has access to the job.
 */
int vfb_job_set_timeout(struct vfb_job *job, uint64_t timeout_ns);

/* What has no job is never stopped. */
static inline bool vfb_job_stopped(struct vfb_job *job)
{
	return job && atomic_load_explicit(&job->stopped, memory_order_relaxed);
}

/* Waits for the end, frees the job, and returns its result. */
int vfb_job_complete(struct vfb_job *job);

/* The synchronous form of @start, an expression that starts @job. */
#define vfb_job_sync(job, start) (vfb_observe_check_wait() ?: (start) ?: vfb_job_complete(job))

#endif
