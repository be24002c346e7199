/* SPDX-License-Identifier: MIT */
#ifndef VFB_ENGINE_JOB_H
#define VFB_ENGINE_JOB_H

#include <stdatomic.h>
#include <vfioboost/job.h>

#include "engine/deadline.h"
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
	/* Tells, with vfb_fail(), what is still to be done when the time is over: the owner need
	 * not wait for that any longer. NULL where the job is cancelled then. */
	void (*tell_late)(struct vfb_job *job);
	/* What has become of an entry, -EINPROGRESS when nothing yet. NULL where that is told for
	 * all of the job only. */
	int (*entry_status)(struct vfb_job *job, size_t entry);
	/* Somebody knows now that it succeeded. NULL: that changes nothing. */
	void (*show_entry)(struct vfb_job *job, size_t entry);
	uint64_t entries, bytes;
	atomic_uint_fast64_t entries_done, bytes_done;
	/* Set by the first failure and by a cancel: what has not begun is not to begin. */
	atomic_bool stopped;
	bool cancellable;
	/* Readable at the end; and when the job is ready, the same unless that comes before. */
	int event_fd, ready_fd;
	struct vfb_deadline deadline;
	/* Threads that wait for an entry. */
	atomic_uint watchers;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int holds;
	/* When progress was asked for first, 0 for never, and the bytes done then. */
	uint64_t first_look_ns, first_look_bytes;
	/* The result stands, a cancel comes too late. */
	bool settled;
	/* Only what is in the background is left; and all else had succeeded by then. */
	bool ready, was_ready;
	/* Nobody is to wait any longer: it has ended, or its time is over. */
	bool over;
	bool ended;
	/* Its owner has destroyed it before it ended. */
	bool abandoned;
	int result;
	char error[VFB_ERROR_BYTES];
};

/* Fills in a job that has sys, observer, operation, finish and free set, and holds it once. */
int vfb_job_init(struct vfb_job *job, atomic_uint *objects);

/* Undoes vfb_job_init() of a job that nobody has seen. */
void vfb_job_fini(struct vfb_job *job);

/* The job will be ready before it ends, and needs a file descriptor for that. */
int vfb_job_has_background(struct vfb_job *job);

void vfb_job_hold(struct vfb_job *job);
void vfb_job_release(struct vfb_job *job);

/*
 * Notes a failure with this thread's error text; the first one is the job's result. Returns
 * @error. @stop: the rest of the job is not to begin.
 */
int vfb_job_fail(struct vfb_job *job, int error, bool stop);

/* Notes this thread's error text, as what is to be told of a job that succeeds in spite of it. */
void vfb_job_warn(struct vfb_job *job);

/*
 * The result, which no failure or cancel changes any more; to be asked by @finish when it decides
 * between keeping and undoing.
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
 * Cancels the job after @timeout_ns, unless that is 0, or tells that it is late: its result is
 * -ETIMEDOUT then. To be called before anybody knows the job.
 */
int vfb_job_set_timeout(struct vfb_job *job, struct vfb_deadlines *deadlines, uint64_t timeout_ns);

static inline bool vfb_job_stopped(struct vfb_job *job)
{
	return atomic_load_explicit(&job->stopped, memory_order_relaxed);
}

/* Waits for the end, frees the job and returns its result: the synchronous form of a job. */
int vfb_job_complete(struct vfb_job *job);

#endif
