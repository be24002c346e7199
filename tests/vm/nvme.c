/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
#define PAGE	       4096
#define IDENTIFY       0x06
#define POLL_NS	       1000000
#define POLLS	       5000

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

/* One command. */
static void identify(struct vfb_device *device, char *queues, uint64_t iova)
{
	const volatile uint16_t *status = (uint16_t *)(queues + PAGE + 14);
	uint32_t *command = (uint32_t *)queues;

	command[0] = IDENTIFY;
	memcpy(&command[6], &iova, sizeof(iova));
	/* The controller. */
	command[10] = 1;
	store(device, DOORBELL, 4, 1);
	for (int i = 0; i < POLLS && !(*status & 1); i++)
		nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
	if (!(*status & 1)) {
		fprintf(stderr, "the NVMe controller does not answer\n");
		abort();
	}
}

void nvme_identify_to(struct vfb_ctx *ctx, struct vfb_space *space, struct vfb_device *device,
		      uint64_t iova)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_range range = {.bytes = 2 * PAGE, .flags = VFB_RANGE_ANY_IOVA};

	opts.bytes = range.bytes;
	opts.page_size = VFB_PAGE_4K;
	check(vfb_memory_create(ctx, &opts, &range.memory), "making queues");
	check(vfb_memory_info(range.memory, &info), "making queues");
	check(vfb_space_map(space, &range, 1, NULL), "mapping queues");
	switch_on(device, range.iova);
	identify(device, info.address, iova);
	store(device, CC, 4, 0);
	wait_for_state(device, 0);
	check(vfb_space_unmap(space, &range, 1, NULL), "unmapping queues");
	check(vfb_memory_destroy(range.memory), "destroying queues");
}
