/* SPDX-License-Identifier: MIT */
#include "engine/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "container_of.h"
#include "options.h"

int vfb_job_init(struct vfb_job *job, atomic_uint *objects)
{
	job->event_fd = job->sys->eventfd(job->sys);
	if (job->event_fd < 0)
		return vfb_fail_errno(job->event_fd, "cannot make an eventfd");
	job->ready_fd = job->event_fd;
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
	vfb_deadline_forget(&job->deadline);
	job->sys->close(job->sys, job->event_fd);
	if (job->ready_fd != job->event_fd)
		job->sys->close(job->sys, job->ready_fd);
	pthread_cond_destroy(&job->changed);
	pthread_mutex_destroy(&job->lock);
	atomic_fetch_sub(job->objects, 1);
}

int vfb_job_has_background(struct vfb_job *job)
{
	int fd = job->sys->eventfd(job->sys);

	if (fd < 0)
		return vfb_fail_errno(fd, "cannot make an eventfd");
	job->ready_fd = fd;
	return 0;
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

/* Called with the lock held. */
static void end_waiting(struct vfb_job *job)
{
	job->over = true;
	job->sys->eventfd_signal(job->sys, job->event_fd);
	job->sys->cond_broadcast(job->sys, &job->changed);
}

static void free_job(struct vfb_job *job)
{
	vfb_job_fini(job);
	job->free(job);
}

void vfb_job_release(struct vfb_job *job)
{
	bool last, abandoned = false;

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
			abandoned = job->abandoned;
			if (!job->ready && job->ready_fd != job->event_fd)
				job->sys->eventfd_signal(job->sys, job->ready_fd);
			job->ready = true;
			end_waiting(job);
		}
		pthread_mutex_unlock(&job->lock);
	}
	if (abandoned)
		free_job(job);
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

void vfb_job_warn(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	if (!job->result && !job->error[0])
		vfb_error_save(job->error);
	pthread_mutex_unlock(&job->lock);
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

bool vfb_job_decide(struct vfb_job *job, bool last)
{
	bool keep;

	pthread_mutex_lock(&job->lock);
	keep = !vfb_job_stopped(job);
	if (last || !keep)
		job->settled = true;
	pthread_mutex_unlock(&job->lock);
	return keep;
}

void vfb_job_announce_ready(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	job->ready = true;
	job->was_ready = job->result == 0;
	job->sys->eventfd_signal(job->sys, job->ready_fd);
	job->sys->cond_broadcast(job->sys, &job->changed);
	pthread_mutex_unlock(&job->lock);
}

void vfb_job_announce(struct vfb_job *job)
{
	if (!atomic_load(&job->watchers))
		return;
	pthread_mutex_lock(&job->lock);
	job->sys->cond_broadcast(job->sys, &job->changed);
	pthread_mutex_unlock(&job->lock);
}

int vfb_job_fd(const struct vfb_job *job)
{
	return job->event_fd;
}

int vfb_job_ready_fd(const struct vfb_job *job)
{
	return job->ready_fd;
}

static uint64_t deadline_after(struct vfb_job *job, uint64_t timeout_ns)
{
	uint64_t now;

	if (timeout_ns == UINT64_MAX)
		return UINT64_MAX;
	now = job->sys->now(job->sys);
	return timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
}

/* What is waited for; called with the lock held. */
typedef bool (*done_fn)(struct vfb_job *job, size_t entry);

static bool look(struct vfb_job *job, done_fn done, size_t entry)
{
	bool is_done;

	pthread_mutex_lock(&job->lock);
	is_done = job->over || done(job, entry);
	pthread_mutex_unlock(&job->lock);
	return is_done;
}

static bool sleep_until(struct vfb_job *job, done_fn done, size_t entry, uint64_t timeout_ns)
{
	uint64_t deadline = deadline_after(job, timeout_ns);
	struct vfb_span span;
	int timeout = 0;
	bool is_done;

	vfb_observe_begin(&span, job->observer, VFB_PHASE_WAIT);
	pthread_mutex_lock(&job->lock);
	while (!(is_done = job->over || done(job, entry)) && timeout != -ETIMEDOUT)
		timeout = job->sys->cond_wait(job->sys, &job->changed, &job->lock, deadline);
	pthread_mutex_unlock(&job->lock);
	vfb_observe_end(&span, .operation = job->operation, .result = is_done ? 0 : -ETIMEDOUT,
			.node = -1);
	return is_done;
}

/* 0; -ETIMEDOUT; or -EDEADLK, told, where nobody may wait. */
static int wait_until(struct vfb_job *job, done_fn done, size_t entry, uint64_t timeout_ns)
{
	int error;

	if (look(job, done, entry))
		return 0;
	error = timeout_ns ? vfb_observe_check_wait() : -ETIMEDOUT;
	if (error)
		return error;
	return sleep_until(job, done, entry, timeout_ns) ? 0 : -ETIMEDOUT;
}

static bool is_over(struct vfb_job *job, size_t entry)
{
	(void)entry;
	return job->over;
}

static bool is_ready(struct vfb_job *job, size_t entry)
{
	(void)entry;
	return job->ready;
}

static bool entry_is_decided(struct vfb_job *job, size_t entry)
{
	return job->entry_status && job->entry_status(job, entry) != -EINPROGRESS;
}

/* The result so far, with its text. */
static int tell_result(struct vfb_job *job)
{
	int result;

	pthread_mutex_lock(&job->lock);
	result = job->result;
	/* Without a result, it is a warning. */
	if (job->error[0])
		vfb_error_restore(job->error);
	pthread_mutex_unlock(&job->lock);
	return result;
}

int vfb_job_wait(struct vfb_job *job, uint64_t timeout_ns)
{
	int error = wait_until(job, is_over, 0, timeout_ns);

	if (error == -ETIMEDOUT)
		return vfb_fail(error, "the job has not ended yet");
	return error ? error : tell_result(job);
}

int vfb_job_wait_ready(struct vfb_job *job, uint64_t timeout_ns)
{
	int error = wait_until(job, is_ready, 0, timeout_ns);

	if (error == -ETIMEDOUT)
		return vfb_fail(error, "the job is not ready yet");
	if (error)
		return error;
	/* What fails in the background later does not change that it was. */
	if (job->was_ready)
		return 0;
	return tell_result(job);
}

int vfb_job_wait_entry(struct vfb_job *job, size_t entry, uint64_t timeout_ns)
{
	int error, status, result;

	if (entry >= job->entries)
		return vfb_fail(-EINVAL, "there is no entry %zu, the job has %" PRIu64, entry,
				job->entries);
	atomic_fetch_add(&job->watchers, 1);
	error = wait_until(job, entry_is_decided, entry, timeout_ns);
	atomic_fetch_sub(&job->watchers, 1);
	if (error == -ETIMEDOUT)
		return vfb_fail(error, "entry %zu is not done yet", entry);
	if (error)
		return error;
	if (!job->entry_status)
		return tell_result(job);
	status = job->entry_status(job, entry);
	if (!status) {
		if (job->show_entry)
			job->show_entry(job, entry);
		return 0;
	}
	/* The time was over before it was done. */
	if (status == -EINPROGRESS)
		return tell_result(job);
	/* Another entry's failure may be the reason. */
	result = tell_result(job);
	return result ? status : vfb_fail_errno(status, "entry %zu failed", entry);
}

/* Ends it with a result, unless that stands already. */
static void stop(struct vfb_job *job, int result, const char *text)
{
	pthread_mutex_lock(&job->lock);
	/* A failure that stopped nothing leaves work to be cancelled. */
	if (!job->settled && !vfb_job_stopped(job)) {
		job->result = result;
		snprintf(job->error, sizeof(job->error), "%s", text);
		atomic_store(&job->stopped, true);
	}
	pthread_mutex_unlock(&job->lock);
}

void vfb_job_cancel(struct vfb_job *job)
{
	if (job->cancellable)
		stop(job, -ECANCELED, "the job was cancelled");
}

/* The work goes on, and nobody waits for it. */
static void end_late(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	if (!job->settled) {
		job->tell_late(job);
		job->result = -ETIMEDOUT;
		vfb_error_save(job->error);
		end_waiting(job);
	}
	pthread_mutex_unlock(&job->lock);
}

static void expire(struct vfb_deadline *deadline)
{
	struct vfb_job *job = container_of(deadline, struct vfb_job, deadline);

	if (job->tell_late) {
		end_late(job);
		return;
	}
	stop(job, -ETIMEDOUT,
	     "the batch took longer than its timeout_ns and was undone: allow more, or ask for "
	     "less");
}

int vfb_job_set_timeout(struct vfb_job *job, struct vfb_deadlines *deadlines, uint64_t timeout_ns)
{
	if (!timeout_ns || !(job->cancellable || job->tell_late))
		return 0;
	return vfb_deadline_set(deadlines, &job->deadline, timeout_ns, expire);
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

/* Frees it, or leaves that to whoever ends it. */
static void dispose(struct vfb_job *job)
{
	bool ended;

	pthread_mutex_lock(&job->lock);
	ended = job->ended;
	job->abandoned = true;
	pthread_mutex_unlock(&job->lock);
	if (ended)
		free_job(job);
}

void vfb_job_destroy(struct vfb_job *job)
{
	if (!job)
		return;
	vfb_job_wait(job, UINT64_MAX);
	dispose(job);
}

int vfb_job_complete(struct vfb_job *job)
{
	int result = vfb_job_wait(job, UINT64_MAX);

	dispose(job);
	return result;
}
