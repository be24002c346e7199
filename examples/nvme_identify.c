/* SPDX-License-Identifier: MIT */
/*
 * A userspace driver for an NVMe controller that uses only the public interface of the library:
 * identifies the controller, creates an I/O queue whose completions arrive as MSI-X interrupts on
 *an eventfd, writes blocks and reads them back.
 *
 *	nvme_identify [--backend type1|iommufd] [--destroy-data] BDF
 *
 * Blocks are written only with --destroy-data, at the beginning of namespace 1. The controller must
 * be bound to vfio-pci (vfioboost bind BDF). Numbers in comments are sections of the NVM Express
 * base specification 1.4.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <vfioboost.h>

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

/* Commands, 5 and 6. */
#define ADMIN_DELETE_SQ 0x00
#define ADMIN_CREATE_SQ 0x01
#define ADMIN_DELETE_CQ 0x04
#define ADMIN_CREATE_CQ 0x05
#define ADMIN_IDENTIFY	0x06
#define IO_WRITE	0x01
#define IO_READ		0x02

#define PCI_COMMAND	0x04
#define MEMORY_AND_DMA	0x6
#define PAGE		4096
#define QUEUE_ENTRIES	16
#define TIMEOUT_MS	10000
#define BLOCKS_PER_TEST 8

/* One page each in the memory that the controller can access. */
enum page {
	ADMIN_SQ,
	ADMIN_CQ,
	IO_SQ,
	IO_CQ,
	DATA,
	CHECK,
	PAGES = 512,
};

struct command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata, data[2];
	uint32_t arguments[6];
};

struct completion {
	uint32_t result, reserved;
	uint16_t head, queue, id;
	/* Bit 0 is the phase, the other bits are the status. */
	uint16_t status;
};

struct queue {
	unsigned int number, tail, head;
	uint16_t phase;
	struct command *commands;
	volatile struct completion *completions;
	int eventfd;
};

struct nvme {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
	char *pages;
	volatile char *registers;
	uint64_t capabilities;
	struct queue admin, io;
};

static int failed(const char *what)
{
	fprintf(stderr, "nvme_identify: %s: %s\n", what, vfb_last_error());
	return -1;
}

static void *page(const struct nvme *nvme, enum page number)
{
	return nvme->pages + number * PAGE;
}

static uint64_t iova(const struct nvme *nvme, enum page number)
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
		fprintf(stderr, "nvme_identify: no interrupt from queue %u\n", queue->number);
		return -1;
	}
	return 0;
}

/* Submits one command and sleeps until its interrupt arrives. */
static int run(struct nvme *nvme, struct queue *queue, const struct command *command)
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
		fprintf(stderr, "nvme_identify: command 0x%02x failed with status 0x%x\n",
			command->opcode, status);
	return status ? -1 : 0;
}

static int run_admin(struct nvme *nvme, uint8_t opcode, uint32_t namespace, enum page data,
		     uint32_t argument0, uint32_t argument1)
{
	struct command command = {
		.opcode = opcode,
		.namespace = namespace,
		.data = {iova(nvme, data)},
		.arguments = {argument0, argument1},
	};

	return run(nvme, &nvme->admin, &command);
}

/* ---- Start and stop ---- */

static int wait_ready(const struct nvme *nvme, uint32_t ready)
{
	/* In units of 500 ms. */
	unsigned int timeout_ms = (nvme->capabilities >> 24 & 0xff) * 500 + 500;

	while ((read32(nvme, CSTS) & RDY) != ready) {
		if (!timeout_ms--) {
			fprintf(stderr, "nvme_identify: the controller does not become %s\n",
				ready ? "ready" : "idle");
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
	queue->commands = page(nvme, commands);
	queue->completions = page(nvme, completions);
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
	write64(nvme, ASQ, iova(nvme, ADMIN_SQ));
	write64(nvme, ACQ, iova(nvme, ADMIN_CQ));
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
		return failed("enabling interrupts");
	return 0;
}

static int create_memory(struct nvme *nvme)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	opts.bytes = PAGES * PAGE;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(nvme->ctx, &opts, &nvme->memory))
		return failed("creating memory");
	nvme->range = (struct vfb_range){
		.memory = nvme->memory,
		.bytes = opts.bytes,
		.flags = VFB_RANGE_ANY_IOVA,
	};
	if (vfb_space_map(nvme->space, &nvme->range, 1, NULL) ||
	    vfb_memory_info(nvme->memory, &info))
		return failed("mapping memory for the controller");
	nvme->pages = info.address;
	return 0;
}

static int start(struct nvme *nvme, const char *address, enum vfb_backend backend)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	uint64_t command;
	void *bar;

	opts.backend = backend;
	if (vfb_ctx_create(NULL, &nvme->ctx) || vfb_space_create(nvme->ctx, &opts, &nvme->space) ||
	    vfb_device_open(nvme->space, address, &nvme->device) ||
	    vfb_region_map(nvme->device, 0, NULL, &bar))
		return failed("opening the controller");
	nvme->registers = bar;
	if (create_memory(nvme))
		return -1;
	if (vfb_region_load(nvme->device, VFB_REGION_CONFIG, PCI_COMMAND, 2, &command) ||
	    vfb_region_store(nvme->device, VFB_REGION_CONFIG, PCI_COMMAND, 2,
			     command | MEMORY_AND_DMA))
		return failed("enabling bus mastering");
	if (enable_interrupts(nvme))
		return -1;
	return enable(nvme);
}

/* Closing disables interrupts, unmaps the BAR and resets the controller. */
static void stop(struct nvme *nvme)
{
	vfb_device_close(nvme->device);
	vfb_space_destroy(nvme->space);
	vfb_memory_destroy(nvme->memory);
	vfb_ctx_destroy(nvme->ctx);
	close(nvme->admin.eventfd);
	close(nvme->io.eventfd);
}

/* ---- Identify, write, read ---- */

static int identify(struct nvme *nvme)
{
	const char *data = page(nvme, DATA);

	if (run_admin(nvme, ADMIN_IDENTIFY, 0, DATA, 1, 0))
		return -1;
	printf("model    %.40s\nserial   %.20s\nfirmware %.8s\n", data + 24, data + 4, data + 64);
	return 0;
}

/* The number of blocks of namespace 1, 0 if there is none, and the size of a block. */
static int identify_namespace(struct nvme *nvme, uint64_t *blocks, uint32_t *block_bytes)
{
	const unsigned char *data = page(nvme, DATA);
	uint32_t format;

	memset(page(nvme, DATA), 0, PAGE);
	if (run_admin(nvme, ADMIN_IDENTIFY, 1, DATA, 0, 0))
		return -1;
	memcpy(blocks, data, sizeof(*blocks));
	memcpy(&format, data + 128 + 4 * (data[26] & 0xf), sizeof(format));
	*block_bytes = 1u << (format >> 16 & 0xff);
	return 0;
}

static int create_io_queue(struct nvme *nvme)
{
	const uint32_t size_and_number = (QUEUE_ENTRIES - 1) << 16 | 1;

	/* Contiguous, interrupts enabled on vector 1; commands complete to queue 1. */
	if (run_admin(nvme, ADMIN_CREATE_CQ, 0, IO_CQ, size_and_number, 1u << 16 | 0x3))
		return -1;
	return run_admin(nvme, ADMIN_CREATE_SQ, 0, IO_SQ, size_and_number, 1u << 16 | 0x1);
}

static int delete_io_queue(struct nvme *nvme)
{
	if (run_admin(nvme, ADMIN_DELETE_SQ, 0, 0, 1, 0))
		return -1;
	return run_admin(nvme, ADMIN_DELETE_CQ, 0, 0, 1, 0);
}

static int transfer(struct nvme *nvme, uint8_t opcode, enum page data, uint32_t blocks)
{
	struct command command = {
		.opcode = opcode,
		.namespace = 1,
		.data = {iova(nvme, data)},
		.arguments = {0, 0, blocks - 1},
	};

	return run(nvme, &nvme->io, &command);
}

static int write_and_read(struct nvme *nvme, uint32_t blocks, uint32_t block_bytes)
{
	unsigned char *written = page(nvme, DATA), *read = page(nvme, CHECK);

	for (uint32_t i = 0; i < blocks * block_bytes; i++)
		written[i] = i * 7 + time(NULL);
	memset(read, 0, PAGE);
	if (transfer(nvme, IO_WRITE, DATA, blocks) || transfer(nvme, IO_READ, CHECK, blocks))
		return -1;
	if (memcmp(written, read, blocks * block_bytes)) {
		fprintf(stderr, "nvme_identify: the data read differs from the data written\n");
		return -1;
	}
	printf("wrote and read %u blocks of %u bytes\n", blocks, block_bytes);
	return 0;
}

static int use(struct nvme *nvme, bool destroy_data)
{
	uint32_t block_bytes, count;
	uint64_t blocks;
	int error;

	if (identify(nvme) || identify_namespace(nvme, &blocks, &block_bytes))
		return -1;
	printf("blocks   %llu of %u bytes\n", (unsigned long long)blocks, block_bytes);
	if (!destroy_data || !blocks)
		return 0;
	count = PAGE / block_bytes < BLOCKS_PER_TEST ? PAGE / block_bytes : BLOCKS_PER_TEST;
	if (!count || count > blocks) {
		fprintf(stderr, "nvme_identify: the namespace is too small, or its blocks too "
				"large\n");
		return -1;
	}
	if (create_io_queue(nvme))
		return -1;
	error = write_and_read(nvme, count, block_bytes);
	return delete_io_queue(nvme) ? -1 : error;
}

static int usage(void)
{
	fprintf(stderr, "Usage: nvme_identify [--backend type1|iommufd] [--destroy-data] BDF\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct nvme nvme = {.admin.eventfd = -1, .io.eventfd = -1};
	enum vfb_backend backend = VFB_BACKEND_AUTO;
	const char *address = NULL;
	bool destroy_data = false;
	int error;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--destroy-data"))
			destroy_data = true;
		else if (!strcmp(argv[i], "--backend") && i + 1 < argc)
			backend = strcmp(argv[++i], "type1") ? VFB_BACKEND_IOMMUFD :
							       VFB_BACKEND_TYPE1;
		else if (argv[i][0] == '-' || address)
			return usage();
		else
			address = argv[i];
	}
	if (!address)
		return usage();
	error = start(&nvme, address, backend);
	if (!error)
		error = use(&nvme, destroy_data);
	stop(&nvme);
	return error ? 1 : 0;
}
