/* SPDX-License-Identifier: MIT */
/*
 * Reads from an NVMe controller, by the driver in nvme.c, into buffers that are mapped when they
 * are used, and unmapped when too many are.
 *
 *	on_demand [--backend type1|iommufd] [--window BYTES] [--static] BDF
 *
 * 64 MiB of buffers cost no pinned memory but that of the windows in use: at most 4 MiB. With
 * --static all of it is mapped at once: the same driver works with both. Nothing is written to the
 * disk. The controller must be bound to vfio-pci (vfioboost bind BDF).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme.h"

#define MIB	      (1u << 20)
#define BUFFERS_BYTES (64 * MIB)
#define LIMIT_BYTES   (4 * MIB)
#define REQUEST_BYTES (128 * 1024)
#define REQUESTS      512
#define TRIM_EVERY    16

struct reader {
	struct nvme nvme;
	struct vfb_memory *buffers;
	struct vfb_range range;
	char *address;
	uint32_t block_bytes;
};

static int create_buffers(struct reader *reader, uint32_t window_bytes)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	opts.bytes = BUFFERS_BYTES;
	opts.page_size = VFB_PAGE_4K;
	if (vfb_memory_create(reader->nvme.ctx, &opts, &reader->buffers))
		return nvme_failed("creating buffers");
	reader->range = (struct vfb_range){
		.memory = reader->buffers,
		.bytes = BUFFERS_BYTES,
		.flags = VFB_RANGE_ANY_IOVA | VFB_RANGE_ON_DEMAND,
		.window_bytes = window_bytes,
	};
	if (vfb_space_map(reader->nvme.space, &reader->range, 1, NULL) ||
	    vfb_memory_info(reader->buffers, &info))
		return nvme_failed("mapping buffers");
	reader->address = info.address;
	return 0;
}

/* Reads the beginning of the disk into a buffer. The second pointer is to a list of pages, 4.3. */
static int read_to(struct reader *reader, uint64_t iova)
{
	struct nvme *nvme = &reader->nvme;
	uint64_t *list = nvme_page(nvme, DATA);
	struct command command = {
		.opcode = IO_READ,
		.namespace = 1,
		.data = {iova, nvme_iova(nvme, DATA)},
		.arguments = {0, 0, REQUEST_BYTES / reader->block_bytes - 1},
	};

	for (unsigned int i = 1; i < REQUEST_BYTES / PAGE; i++)
		list[i - 1] = iova + i * PAGE;
	return nvme_run(nvme, &nvme->io, &command);
}

/* The buffer is mapped while the controller writes to it. */
static int request(struct reader *reader, uint64_t offset)
{
	struct vfb_space *space = reader->nvme.space;
	uint64_t iova = reader->range.iova + offset;
	int error;

	/* Something else than what is read. */
	memset(reader->address + offset, 0xa5, REQUEST_BYTES);
	if (vfb_space_hold(space, iova, REQUEST_BYTES))
		return nvme_failed("mapping a buffer");
	error = read_to(reader, iova);
	if (vfb_space_unhold(space, iova, REQUEST_BYTES))
		return nvme_failed("releasing a buffer");
	return error;
}

static int read_all(struct reader *reader)
{
	uint64_t places = BUFFERS_BYTES / REQUEST_BYTES;

	for (unsigned int i = 0; i < REQUESTS; i++) {
		/* 37 is odd: each place is used once. */
		uint64_t offset = i * 37 % places * REQUEST_BYTES;

		if (request(reader, offset))
			return -1;
		if (i && memcmp(reader->address, reader->address + offset, REQUEST_BYTES)) {
			fprintf(stderr, "on_demand: request %u has read something else\n", i);
			return -1;
		}
		if (i % TRIM_EVERY == TRIM_EVERY - 1 &&
		    vfb_space_trim(reader->nvme.space, LIMIT_BYTES))
			return nvme_failed("evicting buffers");
	}
	return 0;
}

static int use_reader(struct reader *reader, uint32_t window_bytes)
{
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;
	uint64_t blocks;
	int error;

	if (create_buffers(reader, window_bytes) ||
	    nvme_identify_namespace(&reader->nvme, &blocks, &reader->block_bytes))
		return -1;
	if (blocks < REQUEST_BYTES / reader->block_bytes) {
		fprintf(stderr, "on_demand: the controller has no disk, or a small one\n");
		return -1;
	}
	if (nvme_create_io_queue(&reader->nvme))
		return -1;
	error = read_all(reader);
	if (nvme_delete_io_queue(&reader->nvme) || error)
		return -1;
	if (vfb_space_on_demand_info(reader->nvme.space, &info))
		return nvme_failed("reading counters");
	printf("way      %s: %s\n", info.way == VFB_ON_DEMAND_TOUCH ? "touch" : "static",
	       info.reason);
	printf("requests %u of %u KiB, right\n", REQUESTS, REQUEST_BYTES / 1024);
	printf("windows  %llu mapped, %llu evicted, %llu KiB of %u KiB mapped now\n",
	       (unsigned long long)info.mapped, (unsigned long long)info.evicted,
	       (unsigned long long)info.mapped_bytes / 1024, BUFFERS_BYTES / 1024);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "Usage: on_demand [--backend type1|iommufd] [--window BYTES] [--static] "
			"BDF\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct reader reader = {.nvme = {.admin.eventfd = -1, .io.eventfd = -1}};
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	uint32_t window_bytes = 65536;
	const char *address = NULL;
	int error;

	opts.on_demand = VFB_ON_DEMAND_TOUCH;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--static"))
			opts.on_demand = VFB_ON_DEMAND_STATIC;
		else if (!strcmp(argv[i], "--window") && i + 1 < argc)
			window_bytes = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--backend") && i + 1 < argc)
			opts.backend = strcmp(argv[++i], "type1") ? VFB_BACKEND_IOMMUFD :
								    VFB_BACKEND_TYPE1;
		else if (argv[i][0] == '-' || address)
			return usage();
		else
			address = argv[i];
	}
	if (!address)
		return usage();
	error = nvme_start(&reader.nvme, address, &opts);
	if (!error)
		error = use_reader(&reader, window_bytes);
	vfb_device_close(reader.nvme.device);
	reader.nvme.device = NULL;
	if (reader.range.iova)
		vfb_space_unmap(reader.nvme.space, &reader.range, 1, NULL);
	vfb_memory_destroy(reader.buffers);
	nvme_stop(&reader.nvme);
	return error ? 1 : 0;
}
