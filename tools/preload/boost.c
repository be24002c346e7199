/* SPDX-License-Identifier: MIT */
/* Populating what the command is about to map, by all workers at once. */
#include <sys/mman.h>
#include <vfioboost/memory.h>

#include "preload.h"
#include "sys/uapi.h"

/* Of less than that the kernel makes pages sooner than a worker wakes up. */
#define LEAST	(UINT64_C(4) << 20)
#define PAGE	UINT64_C(4096)
#define SAMPLES 64

/* What is to be mapped: at an address, or of a file. */
struct range {
	struct vfb_memory_adopt_opts opts;
	char *address;
};

/*
 * Whether some pages, evenly spread, are all there: in the page table for anonymous memory and
 * hugetlbfs, in the page cache for files (mincore(2)).
 */
static bool is_populated(const struct range *range)
{
	unsigned char there = 1;

	for (uint64_t i = 0; i < SAMPLES && there & 1; i++) {
		uint64_t offset = range->opts.bytes / SAMPLES * i / PAGE * PAGE;

		if (mincore(range->address + offset, PAGE, &there))
			return false;
	}
	return there & 1;
}

/*
 * Whether the kernel populates (Linux 5.14), which leaves alone what is not memory: the region of
 * a device, that a VMM maps for others to reach. Touching its pages would be a write to it.
 */
static bool kernel_populates(const struct range *range)
{
	return !madvise(range->address, 0, MADV_POPULATE_WRITE);
}

static void populate_memory(const struct range *range, struct vfb_memory *memory)
{
	struct record record = {
		.kind = RECORD_POPULATE,
		.address = (uintptr_t)range->address,
		.bytes = range->opts.bytes,
		.start_ns = preload_now(),
	};

	if (preload_records->thp)
		madvise(range->address, range->opts.bytes, MADV_HUGEPAGE);
	record.result = vfb_memory_populate(memory);
	record.duration_ns = preload_now() - record.start_ns;
	preload_note(record);
}

/* A failure is not told: the command's own call meets the same, and gets the kernel's answer. */
static void populate(void *arg)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct range *range = arg;
	struct vfb_memory *memory;

	if (vfb_memory_adopt(preload_context(), &range->opts, &memory))
		return;
	vfb_memory_info(memory, &info);
	range->address = info.address;
	if (kernel_populates(range) && !is_populated(range))
		populate_memory(range, memory);
	vfb_memory_destroy(memory);
}

void boost_map(uint64_t address, uint64_t bytes)
{
	struct range range = {.opts = VFB_MEMORY_ADOPT_OPTS_INIT};

	range.opts.address = (void *)(uintptr_t)address;
	range.opts.bytes = bytes;
	if (bytes >= LEAST)
		preload_run(populate, &range);
}

void boost_map_file(int fd, uint64_t offset, uint64_t bytes)
{
	struct range range = {.opts = VFB_MEMORY_ADOPT_OPTS_INIT};

	range.opts.flags = VFB_MEMORY_HAS_FD;
	range.opts.fd = fd;
	range.opts.fd_offset = offset;
	range.opts.bytes = bytes;
	if (bytes >= LEAST)
		preload_run(populate, &range);
}
