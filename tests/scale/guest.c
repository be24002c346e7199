/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>

#include "context.h"

#define GIB	    FAKE_GIB
#define MAX_DEVICES 64
#define IOVA	    UINT64_C(0x100000000)

struct guest {
	const struct scale_host *host;
	struct scale_result *result;
	struct fake *fake;
	struct meter_counts before;
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_memory *memory;
	struct vfb_range range;
	char addresses[MAX_DEVICES][32];
	struct vfb_device_request requests[MAX_DEVICES];
};

/* A call of the library, whose failure ends the function. */
#define CALL(what, call)             \
	do {                         \
		int error_;          \
                                     \
		meter_begin();       \
		error_ = (call);     \
		meter_end();         \
		if (error_)          \
			return what; \
	} while (0)

/* Has its pages twice: nothing is short. */
static struct fake *build_machine(const struct scale_host *host)
{
	uint64_t node_bytes = host->bytes / host->nodes;
	struct fake_config config = {
		.nodes = host->nodes,
		.cpus_per_node = host->cpus / host->nodes,
		.zero_ns_per_gib = host->zero_ns ? host->zero_ns : 1,
		.pin_ns_per_gib = host->pin_ns ? host->pin_ns : 1,
		.unmap_ns_per_gib = host->unmap_ns ? host->unmap_ns : 1,
		.cap_ipc_lock = true,
	};

	for (unsigned int n = 0; n < host->nodes; n++) {
		config.memory[n] = 2 * node_bytes;
		if (host->page_size == VFB_PAGE_1G)
			config.pages_1g[n] = 2 * node_bytes / GIB;
		if (host->page_size == VFB_PAGE_2M)
			config.pages_2m[n] = 2 * node_bytes / (2 * FAKE_MIB);
	}
	return fake_create(&config);
}

static void add_devices(struct guest *guest)
{
	const struct scale_host *host = guest->host;

	for (unsigned int i = 0; i < host->devices; i++) {
		char bridge[32];

		snprintf(guest->addresses[i], sizeof(guest->addresses[i]), "0000:%02x:00.0", i + 1);
		snprintf(bridge, sizeof(bridge), "0000:00:%02x.0", i / 8 + 8 * (i % 8));
		guest->requests[i].address = guest->addresses[i];
		fake_add_device(guest->fake, &(struct fake_device){
						     .address = guest->addresses[i],
						     .group = i + 1,
						     .bridge = bridge,
						     .driver = "vfio-pci",
						     .node = i % host->nodes,
						     .reset_ns = host->reset_ns,
					     });
	}
}

/* The counts since the step before. */
static void note(struct guest *guest, enum scale_step step)
{
	struct meter_counts now = meter_read();

	guest->result->steps[step] = meter_since(&now, &guest->before);
	guest->before = now;
}

static const char *create(struct guest *guest, const struct vfb_sys *sys)
{
	const struct scale_host *host = guest->host;
	struct vfb_space_opts space = {.size = sizeof(space), .backend = host->backend};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	unsigned int nodes[FAKE_NODES];
	uint64_t parts[FAKE_NODES];

	for (unsigned int n = 0; n < host->nodes; n++) {
		nodes[n] = n;
		parts[n] = host->bytes / host->nodes;
	}
	opts.bytes = host->bytes;
	opts.page_size = host->page_size;
	opts.policy = VFB_NUMA_SPLIT;
	opts.nodes = nodes;
	opts.node_bytes = parts;
	opts.node_count = host->nodes;
	CALL("creating the context", vfb_ctx_create_with(sys, NULL, &guest->ctx));
	note(guest, SCALE_CONTEXT);
	CALL("creating the space", vfb_space_create(guest->ctx, &space, &guest->space));
	CALL("creating the memory", vfb_memory_create(guest->ctx, &opts, &guest->memory));
	note(guest, SCALE_MEMORY);
	guest->range = (struct vfb_range){.iova = IOVA, .bytes = host->bytes};
	guest->range.memory = guest->memory;
	return NULL;
}

static const char *start(struct guest *guest)
{
	uint64_t begin = fake_now(guest->fake);
	struct vfb_job *open, *map;

	if (guest->host->populates_first)
		CALL("populating", vfb_memory_populate(guest->memory));
	CALL("opening", vfb_devices_open_start(guest->space, guest->requests, guest->host->devices,
					       NULL, &open));
	CALL("mapping", vfb_space_map_start(guest->space, &guest->range, 1, NULL, &map));
	CALL("opening", vfb_job_wait(open, UINT64_MAX));
	guest->result->open_ns = fake_now(guest->fake) - begin;
	CALL("mapping", vfb_job_wait(map, UINT64_MAX));
	guest->result->start_ns = fake_now(guest->fake) - begin;
	meter_begin();
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	meter_end();
	note(guest, SCALE_START);
	return NULL;
}

static const char *stop(struct guest *guest)
{
	struct vfb_device *devices[MAX_DEVICES];
	uint64_t begin = fake_now(guest->fake);

	for (unsigned int i = 0; i < guest->host->devices; i++)
		devices[i] = guest->requests[i].device;
	CALL("unmapping", vfb_space_unmap(guest->space, &guest->range, 1, NULL));
	CALL("closing", vfb_devices_close(devices, guest->host->devices, NULL));
	guest->result->stop_ns = fake_now(guest->fake) - begin;
	note(guest, SCALE_STOP);
	CALL("destroying the space", vfb_space_destroy(guest->space));
	CALL("destroying the memory", vfb_memory_destroy(guest->memory));
	CALL("destroying the context", vfb_ctx_destroy(guest->ctx));
	note(guest, SCALE_END);
	return NULL;
}

const char *scale_run(const struct scale_host *host, struct scale_result *result)
{
	struct guest guest = {.host = host, .result = result, .fake = build_machine(host)};
	const char *failed;

	add_devices(&guest);
	failed = create(&guest, meter_create(fake_sys(guest.fake), !host->zero_ns));
	if (!failed)
		failed = start(&guest);
	if (!failed)
		failed = stop(&guest);
	if (!failed)
		fake_destroy(guest.fake);
	return failed;
}
