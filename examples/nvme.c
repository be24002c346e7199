/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Controller registers, 3.1. */
#define CAP    0x00
#define CC     0x14
#define CSTS   0x1c
#define AQA    0x24
#define ASQ    0x28
#define ACQ    0x30
#define DBL    0x1000
#define CC_EN  0x1
#define CC_IOS (4u << 20 | 6u << 16) /* entries of 16 and 64 bytes */
#define RDY    0x1

#define PCI_COMMAND    0x04
#define MEMORY_AND_DMA 0x6
#define QUEUE_ENTRIES  16
#define TIMEOUT_MS     10000

int nvme_failed(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, vfb_last_error());
	return -1;
}

void *nvme_page(const struct nvme *nvme, enum page number)
{
	return nvme->pages + number * PAGE;
}

uint64_t nvme_iova(const struct nvme *nvme, enum page number)
{
	return nvme->range.iova + number * PAGE;
}

static void write32(const struct nvme *nvme, unsigned int offset, uint32_t value)
{
	*(volatile uint32_t *)(nvme->registers + offset) = value;
}

static uint32_t read32(const struct nvme *nvme, unsigned int offset)
{
	return *(volatile uint32_t *)(nvme->registers + offset);
}

/* In two halves, which every controller supports. */
static void write64(const struct nvme *nvme, unsigned int offset, uint64_t value)
{
	write32(nvme, offset, value);
	write32(nvme, offset + 4, value >> 32);
}

/* ---- Commands ---- */

static void ring(const struct nvme *nvme, unsigned int doorbell, unsigned int value)
{
	unsigned int stride = 4u << (nvme->capabilities >> 32 & 0xf);

	/* The commands must be in memory before the doorbell is written. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	write32(nvme, DBL + doorbell * stride, value);
}

static int wait_for_interrupt(const struct queue *queue)
{
	struct pollfd poll_fd = {.fd = queue->eventfd, .events = POLLIN};
	eventfd_t count;

	if (poll(&poll_fd, 1, TIMEOUT_MS) != 1 || eventfd_read(queue->eventfd, &count)) {
		fprintf(stderr, "%s: no interrupt from queue %u\n", program_invocation_short_name,
			queue->number);
		return -1;
	}
	return 0;
}

/* Submits one command and sleeps until its interrupt arrives. */
int nvme_run(struct nvme *nvme, struct queue *queue, const struct command *command)
{
	volatile struct completion *completion = &queue->completions[queue->head];
	unsigned int status;

	queue->commands[queue->tail] = *command;
	queue->tail = (queue->tail + 1) % QUEUE_ENTRIES;
	ring(nvme, 2 * queue->number, queue->tail);
	while ((completion->status & 1) != queue->phase)
		if (wait_for_interrupt(queue))
			return -1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	status = completion->status >> 1;
	queue->head = (queue->head + 1) % QUEUE_ENTRIES;
	if (!queue->head)
		queue->phase = !queue->phase;
	ring(nvme, 2 * queue->number + 1, queue->head);
	if (status)
		fprintf(stderr, "%s: command 0x%02x failed with status 0x%x\n",
			program_invocation_short_name, command->opcode, status);
	return status ? -1 : 0;
}

int nvme_run_admin(struct nvme *nvme, uint8_t opcode, uint32_t namespace, enum page data,
		   uint32_t argument0, uint32_t argument1)
{
	struct command command = {
		.opcode = opcode,
		.namespace = namespace,
		.data = {nvme_iova(nvme, data)},
		.arguments = {argument0, argument1},
	};

	return nvme_run(nvme, &nvme->admin, &command);
}

/* ---- Start and stop ---- */

static int wait_ready(const struct nvme *nvme, uint32_t ready)
{
	/* In units of 500 ms. */
	unsigned int timeout_ms = (nvme->capabilities >> 24 & 0xff) * 500 + 500;

	while ((read32(nvme, CSTS) & RDY) != ready) {
		if (!timeout_ms--) {
			fprintf(stderr, "%s: the controller does not become %s\n",
				program_invocation_short_name, ready ? "ready" : "idle");
			return -1;
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return 0;
}

static void prepare_queue(struct nvme *nvme, struct queue *queue, unsigned int number,
			  enum page commands, enum page completions)
{
	queue->number = number;
	queue->phase = 1;
	queue->commands = nvme_page(nvme, commands);
	queue->completions = nvme_page(nvme, completions);
}

static int enable(struct nvme *nvme)
{
	prepare_queue(nvme, &nvme->admin, 0, ADMIN_SQ, ADMIN_CQ);
	prepare_queue(nvme, &nvme->io, 1, IO_SQ, IO_CQ);
	nvme->capabilities = read32(nvme, CAP) | (uint64_t)read32(nvme, CAP + 4) << 32;
	write32(nvme, CC, 0);
	if (wait_ready(nvme, 0))
		return -1;
	write32(nvme, AQA, (QUEUE_ENTRIES - 1) << 16 | (QUEUE_ENTRIES - 1));
	write64(nvme, ASQ, nvme_iova(nvme, ADMIN_SQ));
	write64(nvme, ACQ, nvme_iova(nvme, ADMIN_CQ));
	write32(nvme, CC, CC_IOS | CC_EN);
	return wait_ready(nvme, RDY);
}

static int enable_interrupts(struct nvme *nvme)
{
	int fds[2];

	nvme->admin.eventfd = eventfd(0, EFD_CLOEXEC);
	nvme->io.eventfd = eventfd(0, EFD_CLOEXEC);
	fds[0] = nvme->admin.eventfd;
	fds[1] = nvme->io.eventfd;
	if (vfb_irq_enable(nvme->device, VFB_IRQ_MSIX, 0, fds, 2))
		return nvme_failed("enabling interrupts");
	return 0;
}

static int create_memory(struct nvme *nvme)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	opts.bytes = PAGES * PAGE;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(nvme->ctx, &opts, &nvme->memory))
		return nvme_failed("creating memory");
	nvme->range = (struct vfb_range){
		.memory = nvme->memory,
		.bytes = opts.bytes,
		.flags = VFB_RANGE_ANY_IOVA,
	};
	if (vfb_space_map(nvme->space, &nvme->range, 1, NULL) ||
	    vfb_memory_info(nvme->memory, &info))
		return nvme_failed("mapping memory for the controller");
	nvme->pages = info.address;
	return 0;
}

int nvme_start(struct nvme *nvme, const char *address, const struct vfb_space_opts *opts)
{
	uint64_t command;
	void *bar;

	if (vfb_ctx_create(NULL, &nvme->ctx) || vfb_space_create(nvme->ctx, opts, &nvme->space) ||
	    vfb_device_open(nvme->space, address, &nvme->device) ||
	    vfb_region_map(nvme->device, 0, NULL, &bar))
		return nvme_failed("opening the controller");
	nvme->registers = bar;
	if (create_memory(nvme))
		return -1;
	if (vfb_region_load(nvme->device, VFB_REGION_CONFIG, PCI_COMMAND, 2, &command) ||
	    vfb_region_store(nvme->device, VFB_REGION_CONFIG, PCI_COMMAND, 2,
			     command | MEMORY_AND_DMA))
		return nvme_failed("enabling bus mastering");
	if (enable_interrupts(nvme))
		return -1;
	return enable(nvme);
}

/* Closing disables interrupts, unmaps the BAR and resets the controller. */
void nvme_stop(struct nvme *nvme)
{
	vfb_device_close(nvme->device);
	vfb_space_destroy(nvme->space);
	vfb_memory_destroy(nvme->memory);
	vfb_ctx_destroy(nvme->ctx);
	close(nvme->admin.eventfd);
	close(nvme->io.eventfd);
}

/* ---- Namespace and queues ---- */

/* The number of blocks of namespace 1, 0 if there is none, and the size of a block. */
int nvme_identify_namespace(struct nvme *nvme, uint64_t *blocks, uint32_t *block_bytes)
{
	const unsigned char *data = nvme_page(nvme, DATA);
	uint32_t format;

	memset(nvme_page(nvme, DATA), 0, PAGE);
	if (nvme_run_admin(nvme, ADMIN_IDENTIFY, 1, DATA, 0, 0))
		return -1;
	memcpy(blocks, data, sizeof(*blocks));
	memcpy(&format, data + 128 + 4 * (data[26] & 0xf), sizeof(format));
	*block_bytes = 1u << (format >> 16 & 0xff);
	return 0;
}

int nvme_create_io_queue(struct nvme *nvme)
{
	const uint32_t size_and_number = (QUEUE_ENTRIES - 1) << 16 | 1;

	/* Contiguous, interrupts enabled on vector 1; commands complete to queue 1. */
	if (nvme_run_admin(nvme, ADMIN_CREATE_CQ, 0, IO_CQ, size_and_number, 1u << 16 | 0x3))
		return -1;
	return nvme_run_admin(nvme, ADMIN_CREATE_SQ, 0, IO_SQ, size_and_number, 1u << 16 | 0x1);
}

int nvme_delete_io_queue(struct nvme *nvme)
{
	if (nvme_run_admin(nvme, ADMIN_DELETE_SQ, 0, 0, 1, 0))
		return -1;
	return nvme_run_admin(nvme, ADMIN_DELETE_CQ, 0, 0, 1, 0);
}
