/* SPDX-License-Identifier: MIT */
#include "engine/job.h"

#include <errno.h>
#include <stdio.h>

#include "options.h"

int vfb_job_init(struct vfb_job *job, atomic_uint *objects)
{
	job->event_fd = job->sys->eventfd(job->sys);
	if (job->event_fd < 0)
		return vfb_fail_errno(job->event_fd, "cannot make an eventfd");
	job->objects = objects;
	atomic_fetch_add(objects, 1);
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->changed, NULL);
	job->holds = 1;
	vfb_observe_begin_apart(&job->span, job->observer, VFB_PHASE_JOB);
	return 0;
}

void vfb_job_fini(struct vfb_job *job)
{
	job->sys->close(job->sys, job->event_fd);
	pthread_cond_destroy(&job->changed);
	pthread_mutex_destroy(&job->lock);
	atomic_fetch_sub(job->objects, 1);
}

void vfb_job_hold(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	job->holds++;
	pthread_mutex_unlock(&job->lock);
}

static void tell_end(struct vfb_job *job)
{
	vfb_observe_end(&job->span, .operation = job->operation, .result = job->result,
			.bytes = job->bytes, .node = -1);
}

void vfb_job_release(struct vfb_job *job)
{
	bool last;

	pthread_mutex_lock(&job->lock);
	last = job->holds == 1;
	if (!last)
		job->holds--;
	pthread_mutex_unlock(&job->lock);

	/* This thread has the only hold, and finishes under it. */
	while (last) {
		uint64_t adopted = vfb_observe_adopt(job->span.id);
		bool ended = job->finish(job);

		vfb_observe_adopt(adopted);
		if (ended)
			tell_end(job);
		pthread_mutex_lock(&job->lock);
		last = !ended && job->holds == 1;
		if (!last)
			job->holds--;
		if (ended) {
			job->ended = true;
			job->sys->eventfd_signal(job->sys, job->event_fd);
			job->sys->cond_broadcast(job->sys, &job->changed);
		}
		pthread_mutex_unlock(&job->lock);
	}
}

int vfb_job_fail(struct vfb_job *job, int error, bool stop)
{
	pthread_mutex_lock(&job->lock);
	if (!job->result) {
		job->result = error;
		vfb_error_save(job->error);
	}
	if (stop)
		atomic_store(&job->stopped, true);
	pthread_mutex_unlock(&job->lock);
	return error;
}

int vfb_job_settle(struct vfb_job *job)
{
	int result;

	pthread_mutex_lock(&job->lock);
	job->settled = true;
	result = job->result;
	pthread_mutex_unlock(&job->lock);
	return result;
}

int vfb_job_fd(const struct vfb_job *job)
{
	return job->event_fd;
}

static uint64_t deadline_after(struct vfb_job *job, uint64_t timeout_ns)
{
	uint64_t now;

	if (timeout_ns == UINT64_MAX)
		return UINT64_MAX;
	now = job->sys->now(job->sys);
	return timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
}

static bool has_ended(struct vfb_job *job)
{
	bool ended;

	pthread_mutex_lock(&job->lock);
	ended = job->ended;
	pthread_mutex_unlock(&job->lock);
	return ended;
}

static bool wait_for_end(struct vfb_job *job, uint64_t timeout_ns)
{
	uint64_t deadline = deadline_after(job, timeout_ns);
	struct vfb_span span;
	int timeout = 0;
	bool ended;

	vfb_observe_begin(&span, job->observer, VFB_PHASE_WAIT);
	pthread_mutex_lock(&job->lock);
	while (!job->ended && timeout != -ETIMEDOUT)
		timeout = job->sys->cond_wait(job->sys, &job->changed, &job->lock, deadline);
	ended = job->ended;
	pthread_mutex_unlock(&job->lock);
	vfb_observe_end(&span, .operation = job->operation, .result = ended ? 0 : -ETIMEDOUT,
			.node = -1);
	return ended;
}

int vfb_job_wait(struct vfb_job *job, uint64_t timeout_ns)
{
	int error;

	if (!has_ended(job)) {
		if (!timeout_ns)
			return vfb_fail(-ETIMEDOUT, "the job has not ended yet");
		error = vfb_observe_check_wait();
		if (error)
			return error;
		if (!wait_for_end(job, timeout_ns))
			return vfb_fail(-ETIMEDOUT, "the job has not ended yet");
	}
	if (job->result)
		vfb_error_restore(job->error);
	return job->result;
}

void vfb_job_cancel(struct vfb_job *job)
{
	if (!job->cancellable)
		return;
	pthread_mutex_lock(&job->lock);
	/* A failure that stopped nothing leaves work to be cancelled. */
	if (!job->settled && !vfb_job_stopped(job)) {
		job->result = -ECANCELED;
		snprintf(job->error, sizeof(job->error), "the job was cancelled");
		atomic_store(&job->stopped, true);
	}
	pthread_mutex_unlock(&job->lock);
}

/* How fast it has gone since the first look. */
static void measure(struct vfb_job *job, struct vfb_job_progress *progress)
{
	uint64_t now = job->sys->now(job->sys), bytes, ns;

	progress->remaining_ns = UINT64_MAX;
	pthread_mutex_lock(&job->lock);
	if (!job->first_look_ns) {
		job->first_look_ns = now;
		job->first_look_bytes = progress->bytes_done;
	}
	bytes = progress->bytes_done - job->first_look_bytes;
	ns = now - job->first_look_ns;
	pthread_mutex_unlock(&job->lock);
	if (ns)
		progress->bytes_per_s = (uint64_t)(1e9 * bytes / ns);
	if (bytes)
		progress->remaining_ns = (uint64_t)((double)ns / bytes *
						    (progress->bytes - progress->bytes_done));
}

int vfb_job_progress(struct vfb_job *job, struct vfb_job_progress *progress)
{
	struct vfb_job_progress known = {
		.entries = job->entries,
		.entries_done = atomic_load(&job->entries_done),
		.bytes = job->bytes,
		.bytes_done = atomic_load(&job->bytes_done),
	};

	measure(job, &known);
	return vfb_struct_write(progress, &known, sizeof(known));
}

void vfb_job_destroy(struct vfb_job *job)
{
	if (!job)
		return;
	vfb_job_wait(job, UINT64_MAX);
	vfb_job_fini(job);
	job->free(job);
}

int vfb_job_complete(struct vfb_job *job)
{
	int result = vfb_job_wait(job, UINT64_MAX);

	vfb_job_fini(job);
	job->free(job);
	return result;
}
