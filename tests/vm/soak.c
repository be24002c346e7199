/* SPDX-License-Identifier: MIT */
/*
 * Threads that map, unmap and translate at random in one space, for a while, on the running
 * kernel: at the end nothing is mapped, pinned, locked or open that was not at the beginning.
 * Arguments: type1 or iommufd, and for how many seconds.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vfioboost.h>

#include "proc.h"

#define THREADS 4
#define SLOTS	64
#define SLOT	(UINT64_C(256) << 10)
#define BASE	(UINT64_C(4) << 30)

struct soak {
	struct vfb_space *space;
	struct vfb_memory *memory;
	char *address;
	double end;
	atomic_bool failed;
};

struct worker {
	struct soak *soak;
	pthread_t thread;
	unsigned int number, seed;
	bool mapped[SLOTS];
	unsigned long maps, unmaps, found;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static void complain(struct worker *worker, const char *what)
{
	fprintf(stderr, "thread %u: %s: %s\n", worker->number, what, vfb_last_error());
	atomic_store(&worker->soak->failed, true);
}

/* Every thread has IOVAs of its own; the memory is everybody's. */
static uint64_t iova_of(const struct worker *worker, unsigned int slot)
{
	return BASE + (worker->number * SLOTS + slot) * SLOT;
}

static uint64_t offset_of(const struct worker *worker, unsigned int slot)
{
	return (slot * 7 + worker->number) % SLOTS * SLOT;
}

/* Some slots at once: those that are mapped are unmapped, the others mapped. */
static void change(struct worker *worker, bool map)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range ranges[SLOTS];
	unsigned int slots[SLOTS];
	size_t count = 0;
	int error;

	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		if (worker->mapped[slot] == map || rand_r(&worker->seed) % 4)
			continue;
		slots[count] = slot;
		ranges[count++] = (struct vfb_range){
			.memory = worker->soak->memory,
			.offset = offset_of(worker, slot),
			.bytes = SLOT,
			.iova = iova_of(worker, slot),
		};
	}
	opts.width = rand_r(&worker->seed) % 3;
	error = map ? vfb_space_map(worker->soak->space, ranges, count, &opts) :
		      vfb_space_unmap(worker->soak->space, ranges, count, &opts);
	if (error)
		complain(worker, map ? "map" : "unmap");
	for (size_t i = 0; i < count && !error; i++)
		worker->mapped[slots[i]] = map;
	worker->maps += map ? count : 0;
	worker->unmaps += map ? 0 : count;
}

/* Its own slots must be found as they are; those of others may come and go. */
static void translate(struct worker *worker)
{
	unsigned int slot = rand_r(&worker->seed) % SLOTS;
	struct vfb_translation piece;
	int found = vfb_space_translate(worker->soak->space, iova_of(worker, slot) + 4096, 64,
					&piece, 1);

	if ((found == 1) != worker->mapped[slot])
		complain(worker, "a slot is found that is not mapped, or the other way round");
	else if (found == 1 &&
		 piece.address != worker->soak->address + offset_of(worker, slot) + 4096)
		complain(worker, "a slot is found elsewhere");
	worker->found += found == 1;
	vfb_space_translate(worker->soak->space, BASE + rand_r(&worker->seed) % (1u << 26), 64,
			    &piece, 1);
}

static void *run(void *arg)
{
	struct worker *worker = arg;

	while (now() < worker->soak->end && !atomic_load(&worker->soak->failed)) {
		change(worker, rand_r(&worker->seed) % 2);
		for (int i = 0; i < 100; i++)
			translate(worker);
	}
	return NULL;
}

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, vfb_last_error());
	return 1;
}

static int soak(struct vfb_ctx *ctx, enum vfb_backend backend, const char *device, double seconds)
{
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts memory_opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;
	struct vfb_space_info before = VFB_SPACE_INFO_INIT, after = VFB_SPACE_INFO_INIT;
	struct worker workers[THREADS] = {0};
	struct soak soak = {.end = now() + seconds};
	struct vfb_device *opened;

	space_opts.backend = backend;
	memory_opts.bytes = SLOTS * SLOT;
	memory_opts.page_size = VFB_PAGE_THP;
	if (vfb_space_create(ctx, &space_opts, &soak.space) ||
	    vfb_device_open(soak.space, device, &opened) ||
	    vfb_memory_create(ctx, &memory_opts, &soak.memory) ||
	    vfb_memory_info(soak.memory, &memory) || vfb_space_info(soak.space, &before))
		return fail("setting up");
	soak.address = memory.address;
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].soak = &soak;
		workers[i].number = i;
		workers[i].seed = i + 1;
		if (pthread_create(&workers[i].thread, NULL, run, &workers[i]))
			return fail("pthread_create");
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		printf("thread %u: %lu mapped, %lu unmapped, %lu found\n", i, workers[i].maps,
		       workers[i].unmaps, workers[i].found);
	}
	if (vfb_space_unmap_all(soak.space) || vfb_space_info(soak.space, &after))
		return fail("unmapping all");
	if (after.mappings || after.entries_left != before.entries_left) {
		fprintf(stderr, "%zu mappings are left\n", after.mappings);
		return 1;
	}
	vfb_device_close(opened);
	if (vfb_space_destroy(soak.space) || vfb_memory_destroy(soak.memory))
		return fail("destroying");
	return atomic_load(&soak.failed);
}

int main(int argc, char **argv)
{
	const char *keys[] = {"VmPin:", "VmLck:"};
	char device[32] = "";
	struct vfb_ctx *ctx;
	long before[2];
	int failed;

	if (argc != 3 || !getenv("VFIO_DEVICES") ||
	    sscanf(getenv("VFIO_DEVICES"), "%31s", device) != 1) {
		fprintf(stderr, "usage: soak type1|iommufd SECONDS, with $VFIO_DEVICES\n");
		return 2;
	}
	for (int i = 0; i < 2; i++)
		before[i] = proc_number("/proc/self/status", keys[i]);
	if (vfb_ctx_create(NULL, &ctx))
		return fail("creating a context");
	failed = soak(ctx, strcmp(argv[1], "type1") ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1,
		      device, atof(argv[2]));
	if (!failed && vfb_ctx_destroy(ctx))
		failed = fail("destroying the context");
	for (int i = 0; i < 2; i++) {
		long after = proc_number("/proc/self/status", keys[i]);

		printf("%s %ld kB before, %ld kB after\n", keys[i], before[i], after);
		failed = failed || after != before[i];
	}
	return failed;
}
