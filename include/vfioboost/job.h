/* SPDX-License-Identifier: MIT */
/**
 * @file job.h
 * Work in progress.
 *
 * A function whose name ends in _start() returns a job at once, and the context's threads do the
 * work. Several jobs run side by side: devices open while memory is populated and mapped. The
 * arrays that are passed to a _start() function must stay valid until the job has ended, unless
 * the function says otherwise; until then their output fields (status and others) belong to the
 * library.
 *
 * The threads do not exist in the child of fork(2), and the file descriptors of the context stand
 * for what the parent uses. There, functions that would wait for a thread, or act on a space, a
 * device, memory or a job of the parent, return -ECHILD at once. A child that needs the library
 * creates its own context.
 */
#ifndef VFIOBOOST_JOB_H
#define VFIOBOOST_JOB_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Work in progress, until vfb_job_destroy(). */
struct vfb_job;

/** How far a job has come. */
struct vfb_job_progress {
	size_t size;
	/** Entries of the batch, and how many of them have finished, whether or not they failed. */
	uint64_t entries, entries_done;
	/** Bytes to process, and processed so far. A job that maps counts a byte once it is
	 *  populated, since mapping is a small part of the work. 0 for jobs on devices. */
	uint64_t bytes, bytes_done;
	/** Bytes per second since the first vfb_job_progress() of this job; 0: not known yet. */
	uint64_t bytes_per_s;
	/** Nanoseconds that the rest takes at that rate; UINT64_MAX: not known. */
	uint64_t remaining_ns;
};

#define VFB_JOB_PROGRESS_INIT VFB_SIZED(struct vfb_job_progress)

/**
 * Returns a file descriptor (an eventfd) that becomes readable when the job has ended, for
 * poll(2) and epoll(7). It belongs to the job: do not read or close it. It is valid until
 * vfb_job_destroy().
 */
VFB_API int vfb_job_fd(const struct vfb_job *job);

/**
 * Waits until the job has ended.
 *
 * @param job         the job
 * @param timeout_ns  how long to wait, in nanoseconds; 0 only checks, UINT64_MAX waits forever
 *
 * @return the result of the work: 0, or the negative errno of the entry that failed first;
 * -ECANCELED: the job was cancelled; -ETIMEDOUT: the job is still running, or has itself ended
 * with -ETIMEDOUT because its batch had a time limit (vfb_batch_opts.timeout_ns); -EDEADLK: it
 * would have to wait in an event callback. The error becomes vfb_last_error() of the calling
 * thread. Functions that can succeed with a warning leave that in vfb_last_error() as well; their
 * description says so.
 */
VFB_API int vfb_job_wait(struct vfb_job *job, uint64_t timeout_ns);

/**
 * Waits until the job is ready: every range is mapped except those with VFB_RANGE_BACKGROUND.
 * From then on a failure, a timeout or a cancel undoes only the background ranges. For a job
 * without background ranges, or one that does not map, this is the same as vfb_job_wait().
 *
 * @param job         the job
 * @param timeout_ns  as for vfb_job_wait()
 *
 * @return 0; the result of the job if it failed before it was ready; -ETIMEDOUT: not ready yet;
 * -EDEADLK: it would have to wait in an event callback.
 */
VFB_API int vfb_job_wait_ready(struct vfb_job *job, uint64_t timeout_ns);

/** Returns a file descriptor that becomes readable when the job is ready; as vfb_job_fd(). */
VFB_API int vfb_job_ready_fd(const struct vfb_job *job);

/**
 * Waits until one entry of a batch is finished: until one range is mapped, or one device is open or
 * closed. For other jobs this is the same as vfb_job_wait().
 *
 * A range that is mapped may still be unmapped again until the job is ready, and a device that is
 * open closed again until the job has ended: if the job is cancelled, or another entry fails and
 * VFB_BATCH_BEST_EFFORT is not set. With iommufd also if ranges that were mapped before cannot be
 * mapped for the devices. Until then the device may be used, but not closed.
 *
 * @param job         the job
 * @param entry       index of the entry in the batch, from 0
 * @param timeout_ns  as for vfb_job_wait(); 0 polls the entry
 *
 * @return 0: the range is mapped (or kept for the first device, see vfb_space_map()), the device is
 * open and in its request, or closed; the negative errno of the entry if it failed; -ETIMEDOUT: not
 * finished yet; -EINVAL: there is no such entry; -EDEADLK: it would have to wait in an event
 * callback.
 */
VFB_API int vfb_job_wait_entry(struct vfb_job *job, size_t entry, uint64_t timeout_ns);

/**
 * Asks the job to stop. The job ends soon after, with -ECANCELED, and undoes what it has done as
 * after a failure. System calls in progress are completed first: a step of populating, a map
 * call, a device reset. Jobs that close or unmap cannot be cancelled and run to their end. Returns
 * at once; use vfb_job_wait() to wait for the end.
 */
VFB_API void vfb_job_cancel(struct vfb_job *job);

/**
 * Reports how far the job has come and, from the second call on, its rate. A job whose progress
 * nobody requests reads no clock for it.
 *
 * @param job       the job
 * @param progress  is filled in
 *
 * @return 0; -E2BIG.
 */
VFB_API int vfb_job_progress(struct vfb_job *job, struct vfb_job_progress *progress);

/**
 * Waits until the job has ended, however long that takes, and frees it. The results stay: what the
 * job has mapped or opened remains so. Devices that were still being closed when the job's time
 * limit expired continue to close. In an event callback, which cannot wait, a job that has not
 * ended is not freed.
 *
 * @param job  the job; NULL is allowed and does nothing
 */
VFB_API void vfb_job_destroy(struct vfb_job *job);

/**
 * Cancels a job whose result is no longer wanted, waits until it has ended, and frees it:
 * vfb_job_cancel() and vfb_job_destroy() in one. Whether it was still in time to undo the work says
 * the result.
 *
 * @param job  the job; NULL is allowed and does nothing
 *
 * @return the result of the job, as of vfb_job_wait(): -ECANCELED if everything was undone;
 * -EDEADLK in an event callback, where a job that has not ended is cancelled, but not freed.
 */
VFB_API int vfb_job_cancel_and_destroy(struct vfb_job *job);

#ifdef __cplusplus
}
#endif

#endif
