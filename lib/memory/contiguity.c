/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>

#include "memory/memory.h"
#include "options.h"

/* Entries of pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define PRESENT	 (UINT64_C(1) << 63)
#define PFN_MASK ((UINT64_C(1) << 55) - 1)
#define ENTRIES	 4096

struct walk {
	struct vfb_contiguity *found;
	/* The current run: its length in base pages, and the frame that would continue it. */
	uint64_t run, next;
	uint64_t base;
};

static void end_run(struct walk *walk)
{
	struct vfb_contiguity *found = walk->found;
	unsigned int ten = 0, two;

	if (!walk->run)
		return;
	two = 63 - __builtin_clzll(walk->run);
	for (uint64_t rest = walk->run; rest >= 10; rest /= 10)
		ten++;
	found->runs++;
	found->runs_by_log2[two < VFB_RUNS_LOG2 ? two : VFB_RUNS_LOG2 - 1]++;
	found->runs_by_log10[ten < VFB_RUNS_LOG10 ? ten : VFB_RUNS_LOG10 - 1]++;
	if (walk->run * walk->base > found->longest_bytes)
		found->longest_bytes = walk->run * walk->base;
	walk->run = 0;
}

/* -EPERM if the kernel hides the frame number. */
static int add_page(struct walk *walk, uint64_t entry)
{
	uint64_t frame = entry & PFN_MASK;

	if (!(entry & PRESENT)) {
		end_run(walk);
		return 0;
	}
	if (!frame)
		return -EPERM;
	if (frame != walk->next)
		end_run(walk);
	walk->run++;
	walk->next = frame + 1;
	walk->found->bytes += walk->base;
	return 0;
}

static int read_pagemap(const struct vfb_sys *sys, int fd, uint64_t first, uint64_t count,
			struct walk *walk)
{
	uint64_t entries[ENTRIES];
	int error = 0;

	while (count && !error) {
		size_t part = count < ENTRIES ? count : ENTRIES;
		ssize_t length = sys->pread(sys, fd, entries, part * sizeof(*entries),
					    first * sizeof(*entries));

		if (length < (ssize_t)sizeof(*entries))
			return length < 0 ? length : -EIO;
		part = length / sizeof(*entries);
		for (size_t i = 0; i < part && !error; i++)
			error = add_page(walk, entries[i]);
		first += part;
		count -= part;
	}
	end_run(walk);
	return error;
}

int vfb_memory_contiguity(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
			  struct vfb_contiguity *contiguity)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	struct vfb_contiguity known = {.bytes = 0};
	struct walk walk = {.found = &known, .base = sys->base_page(sys)};
	int error, fd;

	if (offset % walk.base || bytes % walk.base || offset > memory->bytes ||
	    bytes > memory->bytes - offset)
		return vfb_fail(-EINVAL, "%s at %s is not a page-aligned part of memory of %s",
				vfb_size_text(bytes).text, vfb_size_text(offset).text,
				vfb_size_text(memory->bytes).text);
	/* A process that has changed its user id may not even open its own (proc(5)). */
	fd = sys->open(sys, "/proc/self/pagemap", O_RDONLY);
	error = fd == -EACCES ? -EPERM : fd;
	if (fd >= 0) {
		error = read_pagemap(sys, fd, ((uintptr_t)memory->address + offset) / walk.base,
				     bytes / walk.base, &walk);
		sys->close(sys, fd);
	}
	if (error == -EPERM)
		return vfb_fail(error, "the kernel shows frame numbers to CAP_SYS_ADMIN only: "
				       "run as root");
	if (error < 0)
		return vfb_fail_errno(error, "cannot read /proc/self/pagemap");
	return vfb_struct_write(contiguity, &known, sizeof(known));
}
