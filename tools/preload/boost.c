/* SPDX-License-Identifier: MIT */
/*
 * Populates what the command maps, with all workers at once: beside the command's own call where
 * the two do not wait for each other, else before it.
 */
#include "boost.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "budget.h"
#include "container_of.h"
#include "look.h"
#include "memory/memory.h"
#include "missing.h"
#include "sys/uapi.h"
#include "touch.h"

/*
 * Whether the kernel populates (Linux 5.14), which leaves alone what is not memory: the region of
 * a device, that a VMM maps for others to reach. Touching its pages would be a write to it.
 */
static bool boost_can_populate(char *address)
{
	return !madvise(address, 0, MADV_POPULATE_WRITE);
}

/* What one worker touches. */
struct boost_part {
	struct vfb_task task;
	struct touching *touching;
	sem_t *done;
};

static void boost_run_part(struct vfb_task *task)
{
	struct boost_part *part = container_of(task, struct boost_part, task);

	preload_inside = true;
	touch_steps(part->touching);
	sem_post(part->done);
}

/* The command's thread takes part in it, by its own call: a worker less. */
static void boost_touch_beside(struct boost *boost, const struct vfb_memory *memory,
			       struct touching *touching, struct boost_part *parts,
			       unsigned int count)
{
	struct vfb_engine *engine = preload_context()->engine;
	sem_t done;

	sem_init(&done, 0, 0);
	sem_post(&boost->ready);
	for (unsigned int i = 0; i < count; i++) {
		parts[i] = (struct boost_part){{.run = boost_run_part}, touching, &done};
		vfb_engine_submit(engine, &parts[i].task, vfb_memory_node(memory, 0, i));
	}
	for (unsigned int i = 0; i < count; i++)
		while (sem_wait(&done))
			;
	sem_destroy(&done);
}

/* Begins before the command's call. False: that is not possible. */
static bool boost_populate_beside(struct boost *boost, char *address,
				  const struct vfb_memory *memory, struct record *record)
{
	unsigned int others = vfb_engine_workers(preload_context()->engine) - 1;
	struct touching touching = {
		.address = address,
		.bytes = record->bytes,
		.stop = &boost->stop,
		.left = record->bytes,
	};
	struct boost_part *parts;

	/* Those that touch are processes, which a filter may forbid to threads (QEMU's does). */
	if (!others || !boost->range.address || preload_is_filtered() ||
	    !touch_is_allowed(address, record->bytes))
		return false;
	parts = calloc(others, sizeof(*parts));
	if (!parts)
		return false;
	look_open(&touching.look);
	boost_touch_beside(boost, memory, &touching, parts, others);
	look_close(&touching.look);
	free(parts);
	record->bytes = touching.touched;
	return true;
}

static void boost_populate_memory(struct boost *boost, char *address, struct vfb_memory *memory)
{
	struct record record = {
		.kind = RECORD_POPULATE,
		.address = (uintptr_t)address,
		.bytes = boost->range.bytes,
		.start_ns = preload_now(),
	};

	if (preload_settings.thp)
		madvise(address, record.bytes, MADV_HUGEPAGE);
	if (!boost_populate_beside(boost, address, memory, &record))
		record.result = vfb_memory_populate(memory);
	record.duration_ns = preload_now() - record.start_ns;
	preload_note(&record);
}

/* All pages of a file are in the page cache, of other memory in the page table. */
static bool boost_is_populated(const struct boost *boost, const struct vfb_memory_info *info)
{
	return boost->range.address ? look_is_populated(info->address, info->bytes) :
				      look_file_is_full(boost->range.fd);
}

/* A failure is not reported: the command's own call fails the same way, with the kernel's error. */
static void boost_populate(void *arg)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct boost *boost = arg;
	struct vfb_memory *memory;

	if (!vfb_memory_adopt(preload_context(), &boost->range, &memory)) {
		vfb_memory_info(memory, &info);
		if (boost_can_populate(info.address) && !boost_is_populated(boost, &info) &&
		    budget_allows(memory))
			boost_populate_memory(boost, info.address, memory);
		vfb_memory_destroy(memory);
	}
	/* Once more does no harm. */
	sem_post(&boost->ready);
}

/* Looks before anything is handed over; a filter may forbid the command's thread to look. */
static bool boost_is_wanted(const struct boost *boost)
{
	const struct vfb_memory_adopt_opts *range = &boost->range;

	if (!preload_settings.boost || range->bytes < BOOST_MIN_BYTES)
		return false;
	if (!range->address)
		return !look_file_is_full(range->fd);
	if (missing_overlaps(range->address, range->bytes)) {
		preload_remark("memory with userfaultfd is not populated before it is mapped");
		return false;
	}
	return preload_has_filter() || !look_is_populated(range->address, range->bytes);
}

void boost_begin(struct boost *boost)
{
	if (!boost_is_wanted(boost))
		return;
	sem_init(&boost->ready, 0, 0);
	boost->started = preload_start(&boost->call, boost_populate, boost);
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
