/* SPDX-License-Identifier: MIT */
/*
 * A userspace driver for an NVMe controller that uses only the public interface of the library: an
 * admin queue and an I/O queue, whose completions arrive as MSI-X interrupts on eventfds. Numbers
 * in comments are sections of the NVM Express base specification 1.4.
 */
#ifndef EXAMPLE_NVME_H
#define EXAMPLE_NVME_H

#include <stdint.h>
#include <vfioboost.h>

/* Commands, 5 and 6. */
#define ADMIN_DELETE_SQ 0x00
#define ADMIN_CREATE_SQ 0x01
#define ADMIN_DELETE_CQ 0x04
#define ADMIN_CREATE_CQ 0x05
#define ADMIN_IDENTIFY	0x06
#define IO_WRITE	0x01
#define IO_READ		0x02

#define PAGE 4096

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

/* Prints what has failed, and the text of vfb_last_error(). Returns -1, as all functions do that
 * fail, after printing why. */
int nvme_failed(const char *what);

/* Opens and enables the controller, in a space with these options. The eventfds must be -1. Whether
 * it fails or not, nvme_stop() releases everything. */
int nvme_start(struct nvme *nvme, const char *address, const struct vfb_space_opts *opts);
void nvme_stop(struct nvme *nvme);

/* A page of the controller's memory, and the IOVA where the controller finds it. */
void *nvme_page(const struct nvme *nvme, enum page number);
uint64_t nvme_iova(const struct nvme *nvme, enum page number);

/* Submits one command and sleeps until its interrupt arrives. */
int nvme_run(struct nvme *nvme, struct queue *queue, const struct command *command);
int nvme_run_admin(struct nvme *nvme, uint8_t opcode, uint32_t namespace, enum page data,
		   uint32_t argument0, uint32_t argument1);

/* The number of blocks of namespace 1, 0 if there is none, and the size of a block. */
int nvme_identify_namespace(struct nvme *nvme, uint64_t *blocks, uint32_t *block_bytes);
int nvme_create_io_queue(struct nvme *nvme);
int nvme_delete_io_queue(struct nvme *nvme);

#endif
