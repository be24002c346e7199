/* SPDX-License-Identifier: MIT */
/*
 * Identifies an NVMe controller by the driver in nvme.c, creates an I/O queue, writes blocks and
 * reads them back.
 *
 *	nvme_identify [--backend type1|iommufd] [--destroy-data] BDF
 *
 * Blocks are written only with --destroy-data, at the beginning of namespace 1. The controller must
 * be bound to vfio-pci (vfioboost bind BDF).
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvme.h"

#define BLOCKS_PER_TEST 8

static int identify(struct nvme *nvme)
{
	const char *data = nvme_page(nvme, DATA);

	if (nvme_run_admin(nvme, ADMIN_IDENTIFY, 0, DATA, 1, 0))
		return -1;
	printf("model    %.40s\nserial   %.20s\nfirmware %.8s\n", data + 24, data + 4, data + 64);
	return 0;
}

static int transfer(struct nvme *nvme, uint8_t opcode, enum page data, uint32_t blocks)
{
	struct command command = {
		.opcode = opcode,
		.namespace = 1,
		.data = {nvme_iova(nvme, data)},
		.arguments = {0, 0, blocks - 1},
	};

	return nvme_run(nvme, &nvme->io, &command);
}

static int write_and_read(struct nvme *nvme, uint32_t blocks, uint32_t block_bytes)
{
	unsigned char *written = nvme_page(nvme, DATA), *read = nvme_page(nvme, CHECK);

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

	if (identify(nvme) || nvme_identify_namespace(nvme, &blocks, &block_bytes))
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
	if (nvme_create_io_queue(nvme))
		return -1;
	error = write_and_read(nvme, count, block_bytes);
	return nvme_delete_io_queue(nvme) ? -1 : error;
}

static int usage(void)
{
	fprintf(stderr, "Usage: nvme_identify [--backend type1|iommufd] [--destroy-data] BDF\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct nvme nvme = {.admin.eventfd = -1, .io.eventfd = -1};
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	const char *address = NULL;
	bool destroy_data = false;
	int error;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--destroy-data"))
			destroy_data = true;
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
	error = nvme_start(&nvme, address, &opts);
	if (!error)
		error = use(&nvme, destroy_data);
	nvme_stop(&nvme);
	return error ? 1 : 0;
}
