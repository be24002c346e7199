/* SPDX-License-Identifier: MIT */
#include "engine/job.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "container_of.h"
#include "context.h"
#include "options.h"

int vfb_job_init(struct vfb_job *job, const struct vfb_job_ops *ops, struct vfb_ctx *ctx,
		 size_t entries)
{
	int error = vfb_observer_check_process(&ctx->observer);

	if (error)
		return error;
	job->event_fd = ctx->sys->eventfd(ctx->sys);
	if (job->event_fd < 0)
		return vfb_fail_errno(job->event_fd, "cannot make an eventfd");
	job->ready_fd = job->event_fd;
	job->ops = ops;
	job->ctx = ctx;
	job->sys = ctx->sys;
	job->entries = entries;
	job->ready_result = -EINPROGRESS;
	job->holds = 1;
	atomic_fetch_add(&ctx->objects, 1);
	pthread_mutex_init(&job->lock, NULL);
	pthread_cond_init(&job->changed, NULL);
	vfb_observe_begin_apart(&job->span, &ctx->observer, VFB_PHASE_JOB);
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
	atomic_fetch_sub(&job->ctx->objects, 1);
}

int vfb_job_has_background(struct vfb_job *job)
{
	int fd = job->sys->eventfd(job->sys);

	if (fd < 0)
		return vfb_fail_errno(fd, "cannot make an eventfd");
	job->ready_fd = fd;
	return 0;
}

static void job_hold_times(struct vfb_job *job, unsigned int times)
{
	pthread_mutex_lock(&job->lock);
	job->holds += times;
	pthread_mutex_unlock(&job->lock);
}

void vfb_job_hold(struct vfb_job *job)
{
	job_hold_times(job, 1);
}

void vfb_job_set_rank(struct vfb_job *job, int priority, bool background)
{
	job->share.rank = background ? (int64_t)priority + 2 * (int64_t)INT_MIN : priority;
}

static void job_prepare_task(struct vfb_job *job, struct vfb_task *task)
{
	task->span = job->span.id;
	task->share = &job->share;
	task->small = job->bytes && job->bytes <= VFB_SMALL_BYTES;
	job_hold_times(job, task->runs ? task->runs : 1);
}

void vfb_job_submit(struct vfb_job *job, struct vfb_task *task, int node)
{
	job_prepare_task(job, task);
	vfb_engine_submit(job->ctx->engine, task, node);
}

void vfb_job_submit_sleeping(struct vfb_job *job, struct vfb_task *task)
{
	job_prepare_task(job, task);
	vfb_engine_submit_sleeping(job->ctx->engine, task);
}

static void end_waiting_locked(struct vfb_job *job)
{
	job->sys->eventfd_signal(job->sys, job->event_fd);
	job->sys->cond_broadcast(job->sys, &job->changed);
}

static void set_ready_locked(struct vfb_job *job)
{
	job->ready_result = job->result;
	if (job->ready_fd != job->event_fd)
		job->sys->eventfd_signal(job->sys, job->ready_fd);
}

/* Returns whether the owner has abandoned the job. */
static bool job_end_locked(struct vfb_job *job)
{
	bool abandoned = job->state == VFB_JOB_ABANDONED;

	job->state = VFB_JOB_ENDED;
	if (job->ready_result == -EINPROGRESS)
		set_ready_locked(job);
	end_waiting_locked(job);
	return abandoned;
}

static void job_free(struct vfb_job *job)
{
	vfb_job_fini(job);
	job->ops->free(job);
}

/* Calls ops->finish, with the job as parent of this thread's spans. */
static bool job_finish(struct vfb_job *job)
{
	uint64_t adopted = vfb_observe_adopt(job->span.id);
	bool ended = job->ops->finish(job);

	vfb_observe_adopt(adopted);
	if (ended)
		vfb_observe_end(&job->span, .operation = job->ops->operation, .result = job->result,
				.bytes = job->bytes, .node = VFB_ANY_NODE);
	return ended;
}

void vfb_job_release(struct vfb_job *job)
{
	bool last, abandoned = false;

	pthread_mutex_lock(&job->lock);
	last = job->holds == 1;
	if (!last)
		job->holds--;
	pthread_mutex_unlock(&job->lock);

	/* This thread has the only hold, and keeps it while it finishes the job. */
	while (last) {
		bool ended = job_finish(job);

		pthread_mutex_lock(&job->lock);
		last = !ended && job->holds == 1;
		if (!last)
			job->holds--;
		if (ended)
			abandoned = job_end_locked(job);
		pthread_mutex_unlock(&job->lock);
	}
	if (abandoned)
		job_free(job);
}

int vfb_job_fail(struct vfb_job *job, int error, bool stop)
{
	bool stops;

	pthread_mutex_lock(&job->lock);
	if (!job->result) {
		job->result = error;
		vfb_error_save(job->error);
	}
	stops = stop && !atomic_exchange(&job->stopped, true);
	pthread_mutex_unlock(&job->lock);
	if (stops)
		vfb_engine_hurry(job->ctx->engine, &job->share);
	return error;
}

void vfb_job_warn(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	if (!job->result && !job->error[0])
		vfb_error_save(job->error);
	pthread_mutex_unlock(&job->lock);
}

static void job_settle_locked(struct vfb_job *job)
{
	if (job->state < VFB_JOB_SETTLED)
		job->state = VFB_JOB_SETTLED;
}

int vfb_job_settle(struct vfb_job *job)
{
	int result;

	pthread_mutex_lock(&job->lock);
	job_settle_locked(job);
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
		job_settle_locked(job);
	pthread_mutex_unlock(&job->lock);
	return keep;
}

void vfb_job_announce_ready(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	set_ready_locked(job);
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

/* Condition to wait for. */
typedef bool (*is_done_fn)(struct vfb_job *job, size_t entry);

static bool is_over_locked(struct vfb_job *job, size_t entry)
{
	(void)entry;
	return job->state >= VFB_JOB_LATE;
}

static bool is_ready_locked(struct vfb_job *job, size_t entry)
{
	return job->ready_result != -EINPROGRESS || is_over_locked(job, entry);
}

static bool entry_is_decided_locked(struct vfb_job *job, size_t entry)
{
	return is_over_locked(job, entry) ||
	       (job->ops->entry_status && job->ops->entry_status(job, entry) != -EINPROGRESS);
}

static bool job_look(struct vfb_job *job, is_done_fn is_done, size_t entry)
{
	bool done;

	pthread_mutex_lock(&job->lock);
	done = is_done(job, entry);
	pthread_mutex_unlock(&job->lock);
	return done;
}

static bool job_sleep(struct vfb_job *job, is_done_fn is_done, size_t entry, uint64_t timeout_ns)
{
	uint64_t deadline = deadline_after(job, timeout_ns);
	struct vfb_span span;
	int timeout = 0;
	bool done;

	vfb_observe_begin(&span, &job->ctx->observer, VFB_PHASE_WAIT);
	pthread_mutex_lock(&job->lock);
	while (!(done = is_done(job, entry)) && timeout != -ETIMEDOUT)
		timeout = job->sys->cond_wait(job->sys, &job->changed, &job->lock, deadline);
	pthread_mutex_unlock(&job->lock);
	vfb_observe_end(&span, .operation = job->ops->operation, .result = done ? 0 : -ETIMEDOUT,
			.node = VFB_ANY_NODE);
	return done;
}

/* Returns 0; -ETIMEDOUT, without an error text; or -EDEADLK in a callback. */
static int job_wait_until(struct vfb_job *job, is_done_fn is_done, size_t entry,
			  uint64_t timeout_ns)
{
	int error = vfb_observer_check_process(&job->ctx->observer);

	if (error)
		return error;
	if (job_look(job, is_done, entry))
		return 0;
	error = timeout_ns ? vfb_observe_check_wait() : -ETIMEDOUT;
	if (error)
		return error;
	return job_sleep(job, is_done, entry, timeout_ns) ? 0 : -ETIMEDOUT;
}

/* Returns the result so far, and restores its error text. */
static int job_result(struct vfb_job *job)
{
	int result;

	pthread_mutex_lock(&job->lock);
	result = job->result;
	/* If the result is 0, the text is a warning. */
	if (job->error[0])
		vfb_error_restore(job->error);
	pthread_mutex_unlock(&job->lock);
	return result;
}

int vfb_job_wait(struct vfb_job *job, uint64_t timeout_ns)
{
	int error = job_wait_until(job, is_over_locked, 0, timeout_ns);

	if (error == -ETIMEDOUT)
		return vfb_fail(error, "the job has not ended yet");
	return error ? error : job_result(job);
}

int vfb_job_wait_ready(struct vfb_job *job, uint64_t timeout_ns)
{
	int error = job_wait_until(job, is_ready_locked, 0, timeout_ns);

	if (error == -ETIMEDOUT)
		return vfb_fail(error, "the job is not ready yet");
	if (error)
		return error;
	/* A later failure in the background does not change that. */
	if (job->ready_result == 0)
		return 0;
	return job_result(job);
}

int vfb_job_wait_entry(struct vfb_job *job, size_t entry, uint64_t timeout_ns)
{
	int error, status, result;

	if (entry >= job->entries)
		return vfb_fail(-EINVAL, "there is no entry %zu: the job has %" PRIu64, entry,
				job->entries);
	atomic_fetch_add(&job->watchers, 1);
	error = job_wait_until(job, entry_is_decided_locked, entry, timeout_ns);
	atomic_fetch_sub(&job->watchers, 1);
	if (error == -ETIMEDOUT)
		return vfb_fail(error, "entry %zu is not finished yet", entry);
	if (error)
		return error;
	if (!job->ops->entry_status)
		return job_result(job);
	status = job->ops->entry_status(job, entry);
	if (!status) {
		if (job->ops->show_entry)
			job->ops->show_entry(job, entry);
		return 0;
	}
	/* The time limit expired before the entry was finished. */
	if (status == -EINPROGRESS)
		return job_result(job);
	/* The failure of another entry may be the cause. */
	result = job_result(job);
	return result ? status : vfb_fail_errno(status, "entry %zu failed", entry);
}

/* Sets the result and stops the job, unless the result is already final. */
static void job_stop(struct vfb_job *job, int result, const char *text)
{
	bool stops;

	pthread_mutex_lock(&job->lock);
	/* After a failure that did not stop the job there is still work to cancel. */
	stops = job->state == VFB_JOB_RUNNING && !vfb_job_stopped(job);
	if (stops) {
		job->result = result;
		snprintf(job->error, sizeof(job->error), "%s", text);
		atomic_store(&job->stopped, true);
	}
	pthread_mutex_unlock(&job->lock);
	if (stops)
		vfb_engine_hurry(job->ctx->engine, &job->share);
}

void vfb_job_cancel(struct vfb_job *job)
{
	if (job->ops->cancellable)
		job_stop(job, -ECANCELED, "the job was cancelled");
}

void vfb_job_end_late(struct vfb_job *job)
{
	pthread_mutex_lock(&job->lock);
	/* What is settled without a failure ends now; what failed may take long to undo. */
	if (job->state == VFB_JOB_RUNNING || (job->state == VFB_JOB_SETTLED && job->result)) {
		if (!job->result) {
			job->result = -ETIMEDOUT;
			vfb_error_save(job->error);
		}
		job->state = VFB_JOB_LATE;
		end_waiting_locked(job);
	}
	pthread_mutex_unlock(&job->lock);
}

static void job_expire(struct vfb_deadline *deadline)
{
	struct vfb_job *job = container_of(deadline, struct vfb_job, deadline);

	if (job->ops->expire)
		job->ops->expire(job);
	else
		job_stop(
			job, -ETIMEDOUT,
			"the batch took longer than its timeout_ns and was undone: increase it, or "
			"split the batch");
}

int vfb_job_set_timeout(struct vfb_job *job, uint64_t timeout_ns)
{
	if (!timeout_ns || !(job->ops->cancellable || job->ops->expire))
		return 0;
	return vfb_deadline_set(job->ctx->deadlines, &job->deadline, timeout_ns, job_expire);
}

/* The rate since the first call of vfb_job_progress(). */
static void job_measure(struct vfb_job *job, struct vfb_job_progress *progress)
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

	job_measure(job, &known);
	return vfb_struct_write(progress, &known, sizeof(known));
}

/* Frees the job, or leaves that to the thread that ends it. */
static void job_dispose(struct vfb_job *job)
{
	bool ended;

	pthread_mutex_lock(&job->lock);
	ended = job->state == VFB_JOB_ENDED;
	if (!ended)
		job->state = VFB_JOB_ABANDONED;
	pthread_mutex_unlock(&job->lock);
	if (ended)
		job_free(job);
}

/* Returns the result, as vfb_job_wait(). */
static int job_wait_and_dispose(struct vfb_job *job)
{
	int result = job_wait_until(job, is_over_locked, 0, UINT64_MAX);

	/* In a child the job never ends, and in a callback it goes on. */
	if (result)
		return result;
	result = job_result(job);
	job_dispose(job);
	return result;
}

void vfb_job_destroy(struct vfb_job *job)
{
	if (job)
		job_wait_and_dispose(job);
}

int vfb_job_cancel_and_destroy(struct vfb_job *job)
{
	if (!job)
		return 0;
	vfb_job_cancel(job);
	return job_wait_and_dispose(job);
}

int vfb_job_complete(struct vfb_job *job)
{
	int result = vfb_job_wait(job, UINT64_MAX);

	job_dispose(job);
	return result;
}
