/* SPDX-License-Identifier: MIT */
/*
 * What a VMM does to start and stop a guest with passed-through devices:
 *
 *	guest 0000:01:00.0 0000:02:00.0
 *
 * Memory is populated and mapped while the devices are opening. A callback prints every step.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#define MIB (UINT64_C(1) << 20)

struct guest {
	struct vfb_ctx *ctx;
	struct vfb_subscription *subscription;
	struct vfb_space *space;
	struct vfb_memory *memory;
	struct vfb_range ram;
	size_t device_count;
	struct vfb_device_request *requests;
	struct vfb_device **devices;
};

/* Runs in several threads of the library at the same time: stdio locks the stream. */
static void print_event(const struct vfb_event *event, void *data)
{
	(void)data;
	printf("%-8s %8.3f ms  cpu %d  %s%s%" PRIu64 " MiB%s\n", vfb_phase_name(event->phase),
	       event->duration_ns * 1e-6, event->cpu, event->device ? event->device : "",
	       event->device ? "  " : "", event->bytes / MIB, event->result ? "  failed" : "");
}

/* Places the memory where the devices can use it; a real guest may need several ranges. */
static int place(struct guest *guest, uint64_t bytes, const char *const *addresses, size_t count)
{
	struct vfb_layout_part part = {.bytes = bytes, .alignment = 2 * MIB};
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	int error = vfb_space_expect_devices(guest->space, addresses, count), ranges;

	if (error)
		return error;
	part.memory = guest->memory;
	opts.space = guest->space;
	ranges = vfb_layout(&opts, &part, 1, &guest->ram, 1);
	if (ranges < 0)
		return ranges;
	return ranges == 1 ? 0 : -1;
}

static int create(struct guest *guest, int device_count, char **addresses)
{
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	int error;

	error = vfb_ctx_create(NULL, &guest->ctx);
	if (!error)
		error = vfb_subscribe(guest->ctx, NULL, print_event, NULL, &guest->subscription);
	if (!error)
		error = vfb_space_create(guest->ctx, NULL, &guest->space);
	memory.bytes = 256 * MIB;
	if (!error)
		error = vfb_memory_create(guest->ctx, &memory, &guest->memory);
	if (!error)
		error = place(guest, memory.bytes, (const char *const *)addresses, device_count);
	if (error)
		return error;

	guest->requests = calloc(device_count, sizeof(*guest->requests));
	guest->devices = calloc(device_count, sizeof(*guest->devices));
	if (!guest->requests || !guest->devices)
		return -1;
	guest->device_count = device_count;
	for (int i = 0; i < device_count; i++)
		guest->requests[i].address = addresses[i];
	return 0;
}

/* Waits for both jobs, even if the first one fails. */
static int wait_for_both(struct vfb_job *first, struct vfb_job *second)
{
	int error = first ? vfb_job_wait(first, UINT64_MAX) : 0;
	int other = second ? vfb_job_wait(second, UINT64_MAX) : 0;

	vfb_job_destroy(first);
	vfb_job_destroy(second);
	return error ? error : other;
}

static int start(struct guest *guest)
{
	struct vfb_job *opening = NULL, *mapping = NULL;
	int error, result;

	error = vfb_devices_open_start(guest->space, guest->requests, guest->device_count, NULL,
				       &opening);
	if (!error)
		error = vfb_space_map_start(guest->space, &guest->ram, 1, NULL, &mapping);
	/* A VMM sets up its virtual CPUs and its firmware here. */
	result = wait_for_both(opening, mapping);
	for (size_t i = 0; i < guest->device_count; i++)
		guest->devices[i] = guest->requests[i].device;
	return error ? error : result;
}

static int stop(struct guest *guest)
{
	struct vfb_job *closing = NULL, *unmapping = NULL;
	int error, result;

	error = vfb_devices_close_start(guest->devices, guest->device_count, NULL, &closing);
	if (error)
		return error;
	for (size_t i = 0; i < guest->device_count; i++)
		guest->devices[i] = NULL;
	error = vfb_space_unmap_start(guest->space, &guest->ram, 1, NULL, &unmapping);
	result = wait_for_both(closing, unmapping);
	return error ? error : result;
}

static void destroy(struct guest *guest)
{
	vfb_devices_close(guest->devices, guest->device_count, NULL);
	vfb_space_destroy(guest->space);
	vfb_memory_destroy(guest->memory);
	vfb_unsubscribe(guest->subscription);
	vfb_ctx_destroy(guest->ctx);
	free(guest->requests);
	free(guest->devices);
}

int main(int argc, char **argv)
{
	struct guest guest = {0};
	int error;

	if (argc < 2) {
		fprintf(stderr, "Usage: guest BDF...\n");
		return 2;
	}
	error = create(&guest, argc - 1, argv + 1);
	if (!error)
		error = start(&guest);
	if (!error) {
		printf("the guest could run\n");
		error = stop(&guest);
	}
	if (error)
		fprintf(stderr, "guest: %s\n", vfb_last_error());
	destroy(&guest);
	return error ? 1 : 0;
}
