/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Registers of the controller; numbers are of the NVM Express base specification 1.4, 3.1. */
#define CC	 0x14
#define CSTS	 0x1c
#define AQA	 0x24
#define ASQ	 0x28
#define ACQ	 0x30
#define DOORBELL 0x1000
/* On, entries of 16 and 64 bytes. */
#define CC_ON (4u << 20 | 6u << 16 | 1)

#define PCI_COMMAND    0x04
#define MEMORY_AND_DMA 0x6
/* Of the controller, not of the host. */
#define PAGE	 4096
#define IDENTIFY 0x06
#define POLL_NS	 100000
#define POLLS	 50000
/* Of each queue. */
#define ENTRIES		 2
#define COMMAND_BYTES	 64
#define COMPLETION_BYTES 16

struct nvme {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_range range;
	/* A page of commands, and a page of completions. */
	char *queues;
	/* The next entry of both, and the phase of its completion. */
	unsigned int next, phase;
};

static void check(int error, const char *what)
{
	if (!error)
		return;
	fprintf(stderr, "%s: %s\n", what, vfb_last_error());
	abort();
}

static void store(struct vfb_device *device, uint64_t offset, unsigned int width, uint64_t value)
{
	check(vfb_region_store(device, 0, offset, width, value), "writing a register");
}

static void wait_for_state(struct vfb_device *device, uint64_t ready)
{
	uint64_t status = !ready;

	for (int i = 0; i < POLLS && (status & 1) != ready; i++) {
		nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
		check(vfb_region_load(device, 0, CSTS, 4, &status), "reading a register");
	}
	if ((status & 1) != ready) {
		fprintf(stderr, "the NVMe controller does not become %s\n",
			ready ? "ready" : "idle");
		abort();
	}
}

static void switch_on(struct vfb_device *device, uint64_t queues)
{
	uint64_t command;

	check(vfb_region_load(device, VFB_REGION_CONFIG, PCI_COMMAND, 2, &command), "reading");
	check(vfb_region_store(device, VFB_REGION_CONFIG, PCI_COMMAND, 2, command | MEMORY_AND_DMA),
	      "writing");
	store(device, CC, 4, 0);
	wait_for_state(device, 0);
	/* Two queues of two entries, a page each. */
	store(device, AQA, 4, 1u << 16 | 1);
	store(device, ASQ, 4, queues & UINT32_MAX);
	store(device, ASQ + 4, 4, queues >> 32);
	store(device, ACQ, 4, (queues + PAGE) & UINT32_MAX);
	store(device, ACQ + 4, 4, (queues + PAGE) >> 32);
	store(device, CC, 4, CC_ON);
	wait_for_state(device, 1);
}

static void make_queues(struct nvme *nvme)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	nvme->range = (struct vfb_range){.bytes = 2 * (uint64_t)sysconf(_SC_PAGESIZE),
					 .flags = VFB_RANGE_ANY_IOVA};
	opts.bytes = nvme->range.bytes;
	opts.page_size = VFB_PAGE_4K;
	/* A child may go on. */
	opts.kind = VFB_MEMORY_MEMFD;
	opts.flags = VFB_MEMORY_KEEP_ON_FORK;
	check(vfb_memory_create(nvme->ctx, &opts, &nvme->range.memory), "making queues");
	check(vfb_memory_info(nvme->range.memory, &info), "making queues");
	check(vfb_space_map(nvme->space, &nvme->range, 1, NULL), "mapping queues");
	nvme->queues = info.address;
}

struct nvme *nvme_start(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device)
{
	struct nvme *nvme = calloc(1, sizeof(*nvme));

	if (!nvme)
		abort();
	nvme->ctx = ctx;
	nvme->space = space;
	nvme->device = device;
	nvme->phase = 1;
	make_queues(nvme);
	switch_on(device, nvme->range.iova);
	return nvme;
}

/* One command. */
void nvme_identify(struct nvme *nvme, uint64_t iova)
{
	const char *completion = nvme->queues + PAGE + nvme->next * COMPLETION_BYTES;
	const volatile uint16_t *status = (uint16_t *)(completion + 14);
	uint32_t *command = (uint32_t *)(nvme->queues + nvme->next * COMMAND_BYTES);

	command[0] = IDENTIFY;
	memcpy(&command[6], &iova, sizeof(iova));
	/* The controller. */
	command[10] = 1;
	nvme->next = (nvme->next + 1) % ENTRIES;
	store(nvme->device, DOORBELL, 4, nvme->next);
	for (int i = 0; i < POLLS && (*status & 1) != nvme->phase; i++)
		nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
	if ((*status & 1) != nvme->phase) {
		fprintf(stderr, "the NVMe controller does not answer\n");
		abort();
	}
	if (!nvme->next)
		nvme->phase = !nvme->phase;
	store(nvme->device, DOORBELL + 4, 4, nvme->next);
}

void nvme_stop(struct nvme *nvme)
{
	store(nvme->device, CC, 4, 0);
	wait_for_state(nvme->device, 0);
	check(vfb_space_unmap(nvme->space, &nvme->range, 1, NULL), "unmapping queues");
	check(vfb_memory_destroy(nvme->range.memory), "destroying queues");
	free(nvme);
}

void nvme_identify_to(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		      uint64_t iova)
{
	struct nvme *nvme = nvme_start(ctx, space, device);

	nvme_identify(nvme, iova);
	nvme_stop(nvme);
}
