/* SPDX-License-Identifier: MIT */
/*
 * Many devices at once:
 *
 *	devices 0000:01:00.0 0000:02:00.0 0000:03:00.0
 *
 * Opens them in parallel, keeps those that can be opened, prints the result for each, and closes
 * them in parallel. A callback prints how long each one takes.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost.h>

/* Runs in several threads of the library at the same time: stdio locks the stream. */
static void print_event(const struct vfb_event *event, void *data)
{
	(void)data;
	printf("  %-5s %s  %.3f ms\n", vfb_phase_name(event->phase), event->device,
	       event->duration_ns * 1e-6);
}

static int subscribe(struct vfb_ctx *ctx, struct vfb_subscription **subscription)
{
	struct vfb_filter filter = VFB_FILTER_INIT;

	filter.phases = VFB_PHASE_BIT(VFB_PHASE_OPEN) | VFB_PHASE_BIT(VFB_PHASE_CLOSE);
	return vfb_subscribe(ctx, &filter, print_event, NULL, subscription);
}

/* Waits as an event loop would: the job's file descriptor becomes readable when it has ended. */
static int finish(struct vfb_job *job)
{
	struct pollfd poller = {.fd = vfb_job_fd(job), .events = POLLIN};
	int error;

	poll(&poller, 1, -1);
	error = vfb_job_wait(job, UINT64_MAX);
	vfb_job_destroy(job);
	return error;
}

/* Best effort: a device that cannot be opened does not affect the others. */
static int open_all(struct vfb_space *space, struct vfb_device_request *requests, size_t count)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_job *job;
	int error;

	opts.flags = VFB_BATCH_BEST_EFFORT;
	error = vfb_devices_open_start(space, requests, count, &opts, &job);
	return error ? error : finish(job);
}

static void report(const struct vfb_device_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vfb_device_info info = VFB_DEVICE_INFO_INIT;

		if (!requests[i].device) {
			printf("%s: %s\n", requests[i].address, strerror(-requests[i].status));
			continue;
		}
		vfb_device_info(requests[i].device, &info);
		printf("%s: open, node %d, %u regions\n", info.address, info.node, info.regions);
	}
}

static int close_all(struct vfb_device_request *requests, size_t count)
{
	struct vfb_device **devices = calloc(count, sizeof(*devices));
	struct vfb_job *job;
	size_t open = 0;
	int error;

	if (!devices)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (requests[i].device)
			devices[open++] = requests[i].device;
	error = open ? vfb_devices_close_start(devices, open, NULL, &job) : 0;
	/* The job has its own copy. */
	free(devices);
	return error || !open ? error : finish(job);
}

static int run(struct vfb_space *space, struct vfb_device_request *requests, size_t count)
{
	int error = open_all(space, requests, count), closed;

	if (error)
		fprintf(stderr, "devices: %s\n", vfb_last_error());
	report(requests, count);
	closed = close_all(requests, count);
	if (closed)
		fprintf(stderr, "devices: %s\n", vfb_last_error());
	return error ? error : closed;
}

int main(int argc, char **argv)
{
	struct vfb_subscription *subscription = NULL;
	struct vfb_device_request *requests;
	struct vfb_space *space = NULL;
	struct vfb_ctx *ctx = NULL;
	size_t count = argc - 1;
	int error;

	if (argc < 2) {
		fprintf(stderr, "Usage: devices BDF...\n");
		return 2;
	}
	requests = calloc(count, sizeof(*requests));
	if (!requests)
		return 1;
	for (size_t i = 0; i < count; i++)
		requests[i].address = argv[1 + i];
	error = vfb_ctx_create(NULL, &ctx);
	if (!error)
		error = subscribe(ctx, &subscription);
	if (!error)
		error = vfb_space_create(ctx, NULL, &space);
	if (error)
		fprintf(stderr, "devices: %s\n", vfb_last_error());
	else
		error = run(space, requests, count);
	vfb_space_destroy(space);
	vfb_unsubscribe(subscription);
	vfb_ctx_destroy(ctx);
	free(requests);
	return error ? 1 : 0;
}
