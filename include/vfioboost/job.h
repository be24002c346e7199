/* SPDX-License-Identifier: MIT */
/**
 * @file job.h
 * Work in flight.
 *
 * Functions that end in _start() return at once with a job; the work goes on in the context's
 * threads. Several jobs run side by side: devices open while memory is populated and mapped.
 * The arrays that were given to the _start() function must stay until the job has ended; their
 * status fields belong to the library until then.
 */
#ifndef VFIOBOOST_JOB_H
#define VFIOBOOST_JOB_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfb_job;

/** How far a job is. */
struct vfb_job_progress {
	size_t size;
	/** Entries of the batch, and how many of them are finished, failed ones included. */
	uint64_t entries, entries_done;
	/** Bytes to be worked on, and done. A job that maps counts a byte when it is populated:
	 *  mapping is a small part of the work. 0 for a job on devices. */
	uint64_t bytes, bytes_done;
	/** Bytes in a second since the first vfb_job_progress() of the job; 0: not known yet. */
	uint64_t bytes_per_s;
	/** How long the rest takes at that rate; UINT64_MAX: not known. */
	uint64_t remaining_ns;
};

#define VFB_JOB_PROGRESS_INIT VFB_SIZED(struct vfb_job_progress)

/**
 * A file descriptor that becomes readable when the job has ended, for poll(2) and epoll(7).
 * It belongs to the job: the caller neither reads nor closes it.
 */
VFB_API int vfb_job_fd(const struct vfb_job *job);

/**
 * Waits until the job has ended.
 *
 * @param job         the job
 * @param timeout_ns  how long to wait; 0 only looks, UINT64_MAX waits without end
 *
 * @return the result of the work: 0 (vfb_last_error() may tell of what did not keep it from
 * succeeding, where the function that started it says so), or the negative errno of the entry that
 * failed first, whose text becomes vfb_last_error() of this thread; -ECANCELED after a cancel that
 * took effect; -ETIMEDOUT: it still runs.
 */
VFB_API int vfb_job_wait(struct vfb_job *job, uint64_t timeout_ns);

/**
 * Waits until the job is ready: everything is mapped but what is in the background
 * (VFB_RANGE_BACKGROUND), and stays so: a failure, a timeout or a cancel from then on undoes
 * only what is in the background. Without ranges in the background, and for jobs that don't map,
 * this is vfb_job_wait().
 *
 * @return 0; the result of the job if it failed before it was ready; -ETIMEDOUT.
 */
VFB_API int vfb_job_wait_ready(struct vfb_job *job, uint64_t timeout_ns);

/** As vfb_job_fd(), for when the job is ready. */
VFB_API int vfb_job_ready_fd(const struct vfb_job *job);

/**
 * Waits until one range of a job that maps is mapped. It may be undone until the job is ready: if
 * another entry fails, or the job is cancelled. Likewise whether a device is closed; for other
 * jobs this is vfb_job_wait().
 *
 * @param entry       the number of the range in the batch
 * @param timeout_ns  how long to wait; 0 only looks: which ranges are mapped can be asked so
 *
 * @return 0: it is mapped (or kept for the first device, see vfb_space_map()); its errno;
 * -ETIMEDOUT: not yet; -EINVAL: there is no such entry.
 */
VFB_API int vfb_job_wait_entry(struct vfb_job *job, size_t entry, uint64_t timeout_ns);

/**
 * Asks the job to stop; it ends soon, and what it had done is undone as after a failure. Work
 * inside the kernel is finished first: a step of populating, a map, a device's reset. A job that
 * closes or unmaps cannot be cancelled, it ends as it would have.
 */
VFB_API void vfb_job_cancel(struct vfb_job *job);

/**
 * Tells how far the job is, and from the second call on how fast: no clock is read for jobs that
 * nobody asks about.
 *
 * @return 0, or -E2BIG.
 */
VFB_API int vfb_job_progress(struct vfb_job *job, struct vfb_job_progress *progress);

/**
 * Waits until the job has ended, and frees it. Its results are kept: what it mapped or opened
 * stays; and when the time to close devices was over, they go on to be closed.
 *
 * @param job  the job; NULL is allowed
 */
VFB_API void vfb_job_destroy(struct vfb_job *job);

#ifdef __cplusplus
}
#endif

#endif
