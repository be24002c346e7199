/* SPDX-License-Identifier: MIT */
/*
 * Populating what the command maps, by all workers at once: beside the command's own call where
 * the two do not keep each other waiting, else before it.
 */
#include "boost.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "container_of.h"
#include "memory/memory.h"
#include "sys/uapi.h"
#include "touch.h"

/* Of less than that the kernel makes pages sooner than a worker wakes up. */
#define LEAST	(UINT64_C(4) << 20)
#define PAGE	UINT64_C(4096)
#define SAMPLES 64

/*
 * Whether some pages, evenly spread, are all there: in the page table for anonymous memory and
 * hugetlbfs, in the page cache for files (mincore(2)).
 */
static bool is_populated(char *address, uint64_t bytes)
{
	unsigned char there = 1;

	for (uint64_t i = 0; i < SAMPLES && there & 1; i++) {
		uint64_t offset = bytes / SAMPLES * i / PAGE * PAGE;

		if (mincore(address + offset, PAGE, &there))
			return false;
	}
	return there & 1;
}

/*
 * Whether the kernel populates (Linux 5.14), which leaves alone what is not memory: the region of
 * a device, that a VMM maps for others to reach. Touching its pages would be a write to it.
 */
static bool kernel_populates(char *address)
{
	return !madvise(address, 0, MADV_POPULATE_WRITE);
}

/* What one worker touches. */
struct part {
	struct vfb_task task;
	struct touching *touching;
	sem_t *done;
};

static void run_part(struct vfb_task *task)
{
	struct part *part = container_of(task, struct part, task);

	preload_inside = true;
	touch_steps(part->touching);
	sem_post(part->done);
}

/* The command's thread takes part in it, by its own call: a worker less. */
static void touch_beside(struct boost *boost, const struct vfb_memory *memory,
			 struct touching *touching, struct part *parts, unsigned int count)
{
	struct vfb_engine *engine = preload_context()->engine;
	sem_t done;

	sem_init(&done, 0, 0);
	sem_post(&boost->ready);
	for (unsigned int i = 0; i < count; i++) {
		parts[i] = (struct part){{.run = run_part}, touching, &done};
		vfb_engine_submit(engine, &parts[i].task, vfb_memory_node(memory, 0, i));
	}
	for (unsigned int i = 0; i < count; i++)
		while (sem_wait(&done))
			;
	sem_destroy(&done);
}

/* Begins while the command's call has not begun yet. False: that is not possible. */
static bool populate_beside(struct boost *boost, char *address, const struct vfb_memory *memory,
			    struct record *record)
{
	unsigned int others = vfb_engine_workers(preload_context()->engine) - 1;
	struct touching touching = {
		.address = address,
		.bytes = record->bytes,
		.stop = &boost->stop,
		.left = record->bytes,
	};
	struct part *parts;

	/* Those that touch are processes, which a filter may forbid to threads (QEMU's does). */
	if (!others || !boost->range.address || preload_is_filtered() ||
	    !touch_is_allowed(address, record->bytes))
		return false;
	parts = calloc(others, sizeof(*parts));
	if (!parts)
		return false;
	touch_beside(boost, memory, &touching, parts, others);
	free(parts);
	record->bytes = touching.touched;
	return true;
}

static void populate_memory(struct boost *boost, char *address, struct vfb_memory *memory)
{
	struct record record = {
		.kind = RECORD_POPULATE,
		.address = (uintptr_t)address,
		.bytes = boost->range.bytes,
		.start_ns = preload_now(),
	};

	if (preload_settings.thp)
		madvise(address, record.bytes, MADV_HUGEPAGE);
	if (!populate_beside(boost, address, memory, &record))
		record.result = vfb_memory_populate(memory);
	record.duration_ns = preload_now() - record.start_ns;
	preload_note(&record);
}

/* A failure is not told: the command's own call meets the same, and gets the kernel's answer. */
static void populate(void *arg)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct boost *boost = arg;
	struct vfb_memory *memory;

	if (!vfb_memory_adopt(preload_context(), &boost->range, &memory)) {
		vfb_memory_info(memory, &info);
		if (kernel_populates(info.address) && !is_populated(info.address, info.bytes))
			populate_memory(boost, info.address, memory);
		vfb_memory_destroy(memory);
	}
	/* Once more does no harm. */
	sem_post(&boost->ready);
}

void boost_begin(struct boost *boost)
{
	if (!preload_settings.boost || boost->range.bytes < LEAST)
		return;
	sem_init(&boost->ready, 0, 0);
	boost->started = preload_start(&boost->call, populate, boost);
	while (boost->started && sem_wait(&boost->ready))
		;
}

void boost_end(struct boost *boost)
{
	if (!boost->started)
		return;
	atomic_store(&boost->stop, true);
	preload_wait(&boost->call);
	sem_destroy(&boost->ready);
}
