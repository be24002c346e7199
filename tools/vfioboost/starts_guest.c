/* SPDX-License-Identifier: MIT */
#include "starts_guest.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "children.h"
#include "clock.h"
#include "command.h"

#define IOVA UINT64_C(0x100000000)

struct guest {
	const struct starts_options *options;
	struct starts_report *report;
	pthread_mutex_t lock;
	struct vfb_ctx *ctx;
	struct vfb_subscription *subscription;
	struct vfb_memory *memory;
	struct vfb_space *space;
	struct vfb_range range;
	struct vfb_device_request request;
};

void starts_add_call(struct starts_report *report, const char *name, uint64_t count, double seconds)
{
	struct starts_call *call = report->calls, *end = call + report->call_count;

	while (call < end && strncmp(call->name, name, STARTS_CALL_BYTES - 1))
		call++;
	if (call == end) {
		if (report->call_count == STARTS_CALLS)
			return;
		report->call_count++;
		snprintf(call->name, sizeof(call->name), "%s", name);
	}
	call->count += count;
	call->seconds += seconds;
}

static void note_call(const struct vfb_event *event, void *data)
{
	struct guest *guest = data;

	pthread_mutex_lock(&guest->lock);
	starts_add_call(guest->report, event->operation, 1, event->duration_ns / 1e9);
	pthread_mutex_unlock(&guest->lock);
}

/* The time since *@begin, which begins anew. */
static void take_time(struct guest *guest, enum starts_time what, double *begin)
{
	double now = clock_seconds();

	guest->report->seconds[what] += now - *begin;
	*begin = now;
}

static int create(struct guest *guest, double *begin)
{
	struct vfb_ctx_opts ctx = VFB_CTX_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	struct vfb_space_opts space = {.size = sizeof(space)};
	struct vfb_filter filter = VFB_FILTER_INIT;
	int error;

	ctx.threads = guest->options->threads;
	ctx.flags = VFB_CTX_SYSCALLS;
	memory.bytes = guest->options->bytes;
	memory.page_size = guest->options->page_size;
	space.backend = guest->options->backend;
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_SYSCALL);
	error = vfb_ctx_create(&ctx, &guest->ctx);
	if (!error)
		error = vfb_subscribe(guest->ctx, &filter, note_call, guest, &guest->subscription);
	take_time(guest, STARTS_CONTEXT, begin);
	if (!error)
		error = vfb_memory_create(guest->ctx, &memory, &guest->memory);
	if (!error)
		error = vfb_space_create(guest->ctx, &space, &guest->space);
	take_time(guest, STARTS_MEMORY, begin);
	guest->range = (struct vfb_range){.memory = guest->memory,
					  .iova = IOVA,
					  .bytes = guest->options->bytes};
	return error;
}

/* Waits for opening and mapping, whichever ends first, and takes the time of each. */
static int wait_jobs(struct guest *guest, struct vfb_job *open, struct vfb_job *map, double begin)
{
	struct vfb_job *const jobs[] = {open, map};
	struct pollfd fds[] = {{open ? vfb_job_fd(open) : -1, POLLIN, 0},
			       {map ? vfb_job_fd(map) : -1, POLLIN, 0}};
	int error = 0;

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < 2; i++) {
			int result = fds[i].fd < 0 ? -ETIMEDOUT : vfb_job_wait(jobs[i], 0);

			if (result == -ETIMEDOUT)
				continue;
			guest->report->seconds[i ? STARTS_MAP : STARTS_OPEN] = clock_seconds() -
									       begin;
			fds[i].fd = -1;
			error = error ? error : complain(result);
		}
	}
	return error;
}

static int start(struct guest *guest, const char *device)
{
	double begin = clock_seconds(), first = begin;
	struct vfb_job *open = NULL, *map = NULL;
	int error = create(guest, &begin), result;

	guest->request.address = device;
	if (!error && device)
		error = vfb_devices_open_start(guest->space, &guest->request, 1, NULL, &open);
	if (!error)
		error = vfb_space_map_start(guest->space, &guest->range, 1, NULL, &map);
	complain(error);
	result = wait_jobs(guest, open, map, begin);
	guest->report->seconds[STARTS_START] = clock_seconds() - first;
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	return error ? error : result;
}

static int stop(struct guest *guest)
{
	double begin = clock_seconds(), first = begin;
	int error = vfb_space_unmap(guest->space, &guest->range, 1, NULL);

	take_time(guest, STARTS_UNMAP, &begin);
	if (!error && guest->request.device)
		error = vfb_devices_close(&guest->request.device, 1, NULL);
	take_time(guest, STARTS_CLOSE, &begin);
	if (!error)
		error = vfb_space_destroy(guest->space);
	if (!error)
		error = vfb_memory_destroy(guest->memory);
	vfb_unsubscribe(guest->subscription);
	if (!error)
		error = vfb_ctx_destroy(guest->ctx);
	take_time(guest, STARTS_DESTROY, &begin);
	guest->report->seconds[STARTS_STOP] = begin - first;
	return complain(error);
}

int starts_guest(const struct starts_options *options, const char *device, int fd,
		 struct starts_report *report)
{
	struct guest guest = {.options = options, .report = report};
	struct timespec cpu;
	int error;

	pthread_mutex_init(&guest.lock, NULL);
	if (!child_wait_turn(fd))
		return EXIT_FAILED;
	error = start(&guest, device);
	if (error || !child_report(fd) || !child_wait_turn(fd) || stop(&guest))
		return EXIT_FAILED;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	report->cpu_s = cpu.tv_sec + cpu.tv_nsec / 1e9;
	return child_report(fd) ? EXIT_OK : EXIT_FAILED;
}
