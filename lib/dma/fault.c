/* SPDX-License-Identifier: MIT */
/* The threads that handle faults of devices. */
#include "dma/fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/space.h"
#include "observe/error.h"

#define DEFAULT_THREADS	   2
#define MAX_THREADS	   64
#define DEFAULT_TIMEOUT_MS 10000
#define MAX_AHEAD	   65536

/* Faults that are read at once: as many as the largest group has, which may need more room. */
#define FIRST_ROOM 64
#define MAX_ROOM   65536

/* After a failure to read. */
#define RETRY_NS 10000000

/* ---- Reading ---- */

/* A group is read as a whole: reading nothing although there is something means that it needs more
 * room. */
static bool grow_room(struct vfb_faults *faults)
{
	struct vfb_iommu_hwpt_pgfault *grown = NULL;

	if (faults->room < MAX_ROOM)
		grown = reallocarray(faults->buffer, 2 * faults->room, sizeof(*grown));
	if (!grown)
		return false;
	faults->buffer = grown;
	faults->room *= 2;
	return true;
}

/* False: no more can be read. */
static bool read_faults(struct vfb_faults *faults)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;
	int error = sys->wait_readable(sys, faults->fd, faults->stop);
	ssize_t bytes = 0;

	if (error == -ECANCELED || error == -EBADF)
		return false;
	if (!error)
		bytes = sys->read(sys, faults->fd, faults->buffer,
				  faults->room * sizeof(*faults->buffer));
	if (bytes > 0)
		vfb_fault_groups_add(faults, faults->buffer,
				     (size_t)bytes / sizeof(*faults->buffer));
	else if (error || bytes < 0 || !grow_room(faults))
		sys->sleep(sys, RETRY_NS);
	return true;
}

/* ---- Mapping ---- */

static int map_window(struct vfb_faults *faults, const struct vfb_fault_window *window,
		      size_t ahead)
{
	const struct vfb_demand *demand = window->demand;
	uint64_t iova = demand->iova + window->number * demand->window_bytes;
	struct vfb_space *space = faults->space;
	int error = vfb_touch_windows(space, iova, (1 + ahead) * demand->window_bytes);

	/* Devices that the caller has attached to an adopted space since. */
	if (error == -ENXIO && !vfb_space_look_for_domain(space))
		error = vfb_touch_windows(space, iova, demand->window_bytes);
	/* What cannot be mapped ahead concerns nobody yet. */
	if (error && ahead)
		error = vfb_touch_windows(space, iova, demand->window_bytes);
	return error;
}

static void handle_window(struct vfb_faults *faults, struct vfb_fault_window *window, size_t ahead)
{
	uint64_t bytes = window->demand->window_bytes;
	uint64_t iova = window->demand->iova + window->number * bytes;
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &faults->space->ctx->observer, VFB_PHASE_FAULT);
	error = map_window(faults, window, ahead);
	vfb_fault_window_finish(faults, window, error);
	vfb_observe_end(&span, .operation = "fault", .result = error, .iova = iova,
			.bytes = (1 + ahead) * bytes, .node = VFB_ANY_NODE);
}

/* ---- Threads ---- */

/* Wakes as many of the others as there are windows for, and one that reads. */
static void wake_handlers_locked(struct vfb_faults *faults)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;

	for (size_t i = 0; i < faults->queued && i < faults->idle; i++)
		sys->cond_signal(sys, &faults->changed);
}

static void read_as_one_locked(struct vfb_faults *faults)
{
	bool more;

	faults->reading = true;
	pthread_mutex_unlock(&faults->lock);
	more = read_faults(faults);
	pthread_mutex_lock(&faults->lock);
	/* Without a file nobody reads any more. */
	faults->reading = !more;
	wake_handlers_locked(faults);
}

static void *handler_run(void *arg)
{
	struct vfb_faults *faults = arg;
	const struct vfb_sys *sys = faults->space->ctx->sys;

	pthread_mutex_lock(&faults->lock);
	while (!faults->stopping) {
		size_t ahead;
		struct vfb_fault_window *window = vfb_fault_window_take_locked(faults, &ahead);

		if (window) {
			faults->counters.ahead += ahead;
			pthread_mutex_unlock(&faults->lock);
			handle_window(faults, window, ahead);
			pthread_mutex_lock(&faults->lock);
		} else if (!faults->reading) {
			read_as_one_locked(faults);
		} else {
			faults->idle++;
			sys->cond_wait(sys, &faults->changed, &faults->lock, UINT64_MAX);
			faults->idle--;
		}
	}
	pthread_mutex_unlock(&faults->lock);
	return NULL;
}

void vfb_faults_stop(struct vfb_faults *faults)
{
	const struct vfb_sys *sys;
	struct vfb_fault_window *window;

	if (!faults)
		return;
	sys = faults->space->ctx->sys;
	pthread_mutex_lock(&faults->lock);
	faults->stopping = true;
	sys->cond_broadcast(sys, &faults->changed);
	sys->cond_broadcast(sys, &faults->watch);
	pthread_mutex_unlock(&faults->lock);
	if (faults->stop >= 0)
		sys->eventfd_signal(sys, faults->stop);
	for (unsigned int i = 0; i < faults->thread_count; i++)
		sys->thread_join(sys, faults->threads[i]);
	if (faults->has_watchdog)
		sys->thread_join(sys, faults->watchdog);
	while ((window = TAILQ_FIRST(&faults->windows)))
		vfb_fault_window_finish(faults, window, -ECANCELED);
	if (faults->stop >= 0)
		sys->close(sys, faults->stop);
	pthread_cond_destroy(&faults->changed);
	pthread_cond_destroy(&faults->watch);
	pthread_mutex_destroy(&faults->lock);
	free(faults->threads);
	free(faults->buffer);
	free(faults);
}

static int start_threads(struct vfb_faults *faults, unsigned int count)
{
	const struct vfb_sys *sys = faults->space->ctx->sys;
	int error = sys->thread_create(sys, "vfb-watchdog", NULL, vfb_fault_watchdog_run, faults,
				       &faults->watchdog);

	faults->has_watchdog = !error;
	while (!error && faults->thread_count < count) {
		error = sys->thread_create(sys, "vfb-fault", NULL, handler_run, faults,
					   &faults->threads[faults->thread_count]);
		faults->thread_count += !error;
	}
	return error ? vfb_fail_errno(error, "cannot create a thread for faults of devices") : 0;
}

int vfb_faults_start(struct vfb_space *space, const struct vfb_space_opts *opts)
{
	unsigned int threads = opts->fault_threads ? opts->fault_threads : DEFAULT_THREADS;
	uint32_t timeout = opts->fault_timeout_ms ? opts->fault_timeout_ms : DEFAULT_TIMEOUT_MS;
	const struct vfb_sys *sys = space->ctx->sys;
	struct vfb_faults *faults;
	int error;

	if (threads > MAX_THREADS || opts->fault_ahead > MAX_AHEAD)
		return vfb_fail(-EINVAL,
				"%u threads for faults of devices (fault_threads) and %" PRIu32
				" windows mapped ahead (fault_ahead): at most %d and %d are "
				"possible",
				threads, opts->fault_ahead, MAX_THREADS, MAX_AHEAD);
	faults = calloc(1, sizeof(*faults));
	if (!faults)
		return vfb_fail_memory();
	*faults = (struct vfb_faults){
		.space = space,
		.fd = space->iommu->fault_fd,
		.timeout_ns = timeout * UINT64_C(1000000),
		.most_ahead = opts->fault_ahead,
		.room = FIRST_ROOM,
	};
	pthread_mutex_init(&faults->lock, NULL);
	pthread_cond_init(&faults->changed, NULL);
	pthread_cond_init(&faults->watch, NULL);
	TAILQ_INIT(&faults->groups);
	TAILQ_INIT(&faults->windows);
	faults->threads = calloc(threads, sizeof(*faults->threads));
	faults->buffer = calloc(FIRST_ROOM, sizeof(*faults->buffer));
	faults->stop = sys->eventfd(sys);
	if (!faults->threads || !faults->buffer)
		error = vfb_fail_memory();
	else if (faults->stop < 0)
		error = vfb_fail_errno(faults->stop, "cannot create an eventfd");
	else
		error = start_threads(faults, threads);
	if (error)
		vfb_faults_stop(faults);
	else
		space->demands.faults = faults;
	return error;
}

void vfb_faults_info(struct vfb_faults *faults, struct vfb_on_demand_info *info)
{
	const struct vfb_fault_counters *counters = &faults->counters;

	pthread_mutex_lock(&faults->lock);
	info->faults = counters->faults;
	info->faults_coalesced = counters->coalesced;
	info->faults_spurious = counters->spurious;
	info->faults_denied = counters->denied;
	info->faults_expired = counters->expired;
	info->mapped_ahead = counters->ahead;
	info->fault_median_ns = vfb_histogram_quantile(&counters->latency, 500);
	info->fault_p99_ns = vfb_histogram_quantile(&counters->latency, 990);
	pthread_mutex_unlock(&faults->lock);
}
