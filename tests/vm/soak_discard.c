/* SPDX-License-Identifier: MIT */
/*
 * Random blocks of memory are discarded and restored, round after round, while an NVMe controller
 * writes into the others without a pause.
 *
 *	soak_discard BACKEND ROUNDS SEED
 *
 * What the controller has written must be there; what was restored must be zero; and pages that the
 * process gets after a discard, which are likely those that were returned, must keep what it has
 * written into them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "nvme.h"

#define PAGE	 4096
#define BLOCK	 (UINT64_C(2) << 20)
#define BLOCKS	 32
#define BATCH	 6
#define CANARIES 8
#define WORDS	 (BLOCK / sizeof(uint64_t))

enum use {
	IDLE,
	DMA,
	DISCARD,
};

struct soak {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
	char *address;
	struct nvme *nvme;
	/* Who uses a block. */
	_Atomic enum use uses[BLOCKS];
	atomic_bool stop;
	unsigned long writes;
	/* Pages of the process itself. */
	uint64_t *canaries[CANARIES];
	unsigned int next_canary;
	struct drand48_data random;
};

static void check(int error, const char *what)
{
	if (!error)
		return;
	fprintf(stderr, "%s: %s\n", what, vfb_last_error());
	abort();
}

static void require(bool condition, const char *what, size_t block)
{
	if (condition)
		return;
	fprintf(stderr, "block %zu: %s\n", block, what);
	abort();
}

static unsigned int any(struct drand48_data *data, unsigned int limit)
{
	long value;

	lrand48_r(data, &value);
	return value % limit;
}

static bool take(struct soak *soak, size_t block, enum use use)
{
	enum use idle = IDLE;

	return atomic_compare_exchange_strong(&soak->uses[block], &idle, use);
}

/* ---- The controller ---- */

static void *write_by_dma(void *arg)
{
	struct soak *soak = arg;
	struct drand48_data random;

	srand48_r(1, &random);
	while (!atomic_load(&soak->stop)) {
		size_t block = any(&random, BLOCKS);
		uint64_t offset = block * BLOCK + any(&random, BLOCK / PAGE) * PAGE;
		volatile uint32_t *word = (uint32_t *)(soak->address + offset);

		if (!take(soak, block, DMA))
			continue;
		*word = 0;
		nvme_identify(soak->nvme, soak->range.iova + offset);
		require(*word == NVME_IDENTITY, "what the controller has written is not there",
			block);
		memset(soak->address + offset, 0, PAGE);
		soak->writes++;
		atomic_store(&soak->uses[block], IDLE);
	}
	return NULL;
}

/* ---- The pages ---- */

static void replace_canary(struct soak *soak)
{
	unsigned int number = soak->next_canary++ % CANARIES;
	uint64_t *words = soak->canaries[number];

	for (size_t i = 0; words && i < WORDS; i++)
		require(words[i] == i, "a page of the process has changed", number);
	if (words)
		munmap(words, BLOCK);
	words = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED)
		abort();
	for (size_t i = 0; i < WORDS; i++)
		words[i] = i;
	soak->canaries[number] = words;
}

static bool is_zero(const char *block)
{
	const uint64_t *words = (const uint64_t *)block;
	uint64_t all = 0;

	for (size_t i = 0; i < WORDS; i++)
		all |= words[i];
	return !all;
}

/* Blocks that the controller does not use, marked so that it is noticed if they are not zeroed. */
static size_t choose(struct soak *soak, struct vfb_memory_range *parts)
{
	size_t wanted = 1 + any(&soak->random, BATCH), count = 0;

	for (size_t i = 0; i < wanted; i++) {
		size_t block = any(&soak->random, BLOCKS);

		if (!take(soak, block, DISCARD))
			continue;
		parts[count++] = (struct vfb_memory_range){.offset = block * BLOCK, .bytes = BLOCK};
		memset(soak->address + block * BLOCK, 0xee, PAGE);
	}
	return count;
}

static void run_round(struct soak *soak)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_memory_range parts[BATCH];
	size_t count = choose(soak, parts);

	/* In the calling thread, or by workers. */
	check(vfb_memory_discard(soak->memory, parts, count, any(&soak->random, 2) ? &opts : NULL),
	      "discarding");
	replace_canary(soak);
	check(vfb_memory_restore(soak->memory, parts, count, any(&soak->random, 2) ? &opts : NULL),
	      "restoring");
	for (size_t i = 0; i < count; i++) {
		size_t block = parts[i].offset / BLOCK;

		require(is_zero(soak->address + parts[i].offset), "it is not zero", block);
		atomic_store(&soak->uses[block], IDLE);
	}
}

/* ---- All of it ---- */

static void start(struct soak *soak, const char *backend, const char *device)
{
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	space_opts.backend = strcmp(backend, "type1") ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1;
	space_opts.block_bytes = BLOCK;
	opts.bytes = BLOCKS * BLOCK;
	opts.page_size = VFB_PAGE_4K;
	opts.kind = VFB_MEMORY_MEMFD;
	check(vfb_ctx_create(NULL, &soak->ctx), "creating a context");
	check(vfb_space_create(soak->ctx, &space_opts, &soak->space), "creating a space");
	check(vfb_device_open(soak->space, device, &soak->device), "opening the device");
	check(vfb_memory_create(soak->ctx, &opts, &soak->memory), "creating memory");
	check(vfb_memory_info(soak->memory, &info), "creating memory");
	soak->address = info.address;
	soak->range = (struct vfb_range){.memory = soak->memory,
					 .bytes = opts.bytes,
					 .flags = VFB_RANGE_ANY_IOVA};
	check(vfb_space_map(soak->space, &soak->range, 1, NULL), "mapping");
	soak->nvme = nvme_start(soak->ctx, soak->space, soak->device);
}

static void stop(struct soak *soak)
{
	nvme_stop(soak->nvme);
	check(vfb_space_unmap_all(soak->space), "unmapping");
	vfb_device_close(soak->device);
	check(vfb_space_destroy(soak->space), "destroying the space");
	check(vfb_memory_destroy(soak->memory), "destroying memory");
	check(vfb_ctx_destroy(soak->ctx), "destroying the context");
}

int main(int argc, char **argv)
{
	const char *devices = getenv("VFIO_DEVICES");
	static struct soak soak;
	/* The first one of the list. */
	char device[sizeof("0000:00:00.0")];
	unsigned long rounds;
	pthread_t thread;

	if (argc != 4 || !devices) {
		fprintf(stderr, "Usage: soak_discard type1|iommufd ROUNDS SEED\n"
				"with the address of a controller in VFIO_DEVICES\n");
		return 2;
	}
	snprintf(device, sizeof(device), "%s", devices);
	rounds = strtoul(argv[2], NULL, 10);
	srand48_r(strtol(argv[3], NULL, 10), &soak.random);
	start(&soak, argv[1], device);
	if (pthread_create(&thread, NULL, write_by_dma, &soak))
		abort();
	for (unsigned long i = 0; i < rounds; i++)
		run_round(&soak);
	atomic_store(&soak.stop, true);
	pthread_join(thread, NULL);
	stop(&soak);
	printf("%s: %lu rounds with seed %s beside %lu writes of the controller\n", argv[1], rounds,
	       argv[3], soak.writes);
	return soak.writes ? 0 : 1;
}
