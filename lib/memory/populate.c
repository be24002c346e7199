/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "memory/memory.h"
#include "memory/pace.h"
#include "memory/room.h"
#include "round.h"
#include "sys/uapi.h"

/* The tightest limit of a cgroup. */
struct tightest {
	char path[256];
	uint64_t bytes;
};

static void note_tightest(const char *path, uint64_t bytes, uint64_t period, void *arg)
{
	struct tightest *tightest = arg;

	(void)period;
	if (tightest->path[0] && bytes >= tightest->bytes)
		return;
	tightest->bytes = bytes;
	snprintf(tightest->path, sizeof(tightest->path), "%s", path);
}

/* Reserved hugetlb pages may be missing on the node, or exceed the limit of the cgroup. */
static int explain_hugetlb(const struct vfb_memory *memory, const char *where)
{
	const char *file = memory->page_bytes == GIB ? "hugetlb.1GB.max" : "hugetlb.2MB.max";
	struct tightest limit = {.path = ""};

	vfb_sys_cgroup(memory->ctx->sys, file, note_tightest, &limit);
	if (limit.path[0])
		return vfb_fail(-ENOMEM,
				"out of free pages of %s%s while populating %s: %s allows %s "
				"(raise it), or the pool is empty (raise nr_hugepages)",
				vfb_size_text(memory->page_bytes).text, where,
				vfb_size_text(memory->bytes).text, limit.path,
				vfb_size_text(limit.bytes).text);
	return vfb_fail(-ENOMEM,
			"out of free pages of %s%s while populating %s: raise nr_hugepages, or use "
			"smaller pages",
			vfb_size_text(memory->page_bytes).text, where,
			vfb_size_text(memory->bytes).text);
}

static int explain_failure(const struct vfb_memory *memory, int error, int node)
{
	struct vfb_size_text pages = vfb_size_text(memory->page_bytes);
	char where[32] = "";

	if (memory->policy == VFB_NUMA_BIND || memory->policy == VFB_NUMA_SPLIT)
		snprintf(where, sizeof(where), " on node %d", node);
	switch (error) {
	case -EFAULT: /* a write would have raised SIGBUS: madvise(2) */
	case -ENOMEM:
		if (memory->page_bytes > 4 * KIB)
			return explain_hugetlb(memory, where);
		return vfb_fail(-ENOMEM,
				"out of free pages of %s%s while populating %s: see /proc/meminfo, "
				"and the limits of the cgroup",
				pages.text, where, vfb_size_text(memory->bytes).text);
	case -EADDRNOTAVAIL: /* set by populate_step() */
		return vfb_fail(-EFAULT,
				"part of the memory of %s at %p is not mapped any more: the caller "
				"must not unmap it before it is destroyed here",
				vfb_size_text(memory->bytes).text, (void *)memory->address);
	case -EHWPOISON:
		return vfb_fail(error, "a page of %s%s has a memory error: see the kernel log",
				pages.text, where);
	default:
		return vfb_fail_errno(error, "cannot populate pages of %s%s", pages.text, where);
	}
}

/* Linux before 5.14 refuses the advice for every range, even an empty one. */
static bool kernel_can_populate(const struct vfb_memory *memory)
{
	const struct vfb_sys *sys = memory->ctx->sys;

	return sys->madvise(sys, memory->address, 0, MADV_POPULATE_WRITE) != -EINVAL;
}

/* Page by page, for kernels without MADV_POPULATE_WRITE. */
static int touch_pages(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	uint64_t end = offset + bytes;
	int error = 0;

	for (; offset < end && !error; offset += memory->page_bytes)
		error = sys->touch(sys, memory->address + offset);
	return error;
}

static int populate_step(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error;

	do
		error = sys->madvise(sys, memory->address + offset, bytes, MADV_POPULATE_WRITE);
	while (error == -EINTR || error == -EAGAIN);
	if (error == -EINVAL && !kernel_can_populate(memory))
		error = touch_pages(memory, offset, bytes);
	if (error == -ENOMEM && !vfb_memory_is_mapped(memory, offset, bytes))
		error = -EADDRNOTAVAIL;
	return error;
}

/* If base pages run out, the kernel kills a process instead of returning an error. */
static int take_room(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	if (memory->page_bytes > 4 * KIB ||
	    !vfb_room_take(memory->ctx->room, vfb_memory_strict_node(memory, offset), bytes))
		return 0;
	/* If the caller has populated the part, nothing more is needed. */
	return vfb_memory_absent_bytes(memory, offset, bytes) ? -EDQUOT : 0;
}

/* The steps of vfb_memory_populate_range(). */
static int populate_steps(struct vfb_memory *memory, uint64_t offset, uint64_t end,
			  struct vfb_job *job)
{
	uint64_t size = vfb_memory_granule(memory);

	while (offset < end) {
		uint64_t granule = offset / size, next = (granule + 1) * size;
		bool whole = offset == granule * size;
		int error;

		if (next > memory->bytes)
			next = memory->bytes;
		whole = whole && next <= end;
		if (next > end)
			next = end;
		if (!vfb_memory_is_populated(memory, offset, next - offset)) {
			vfb_pace_wait(memory->ctx->pace, next - offset, job);
			if (vfb_job_stopped(job))
				return -ECANCELED;
			error = take_room(memory, offset, next - offset);
			if (!error)
				error = populate_step(memory, offset, next - offset);
			if (error)
				return error;
			if (whole)
				vfb_memory_mark_populated(memory, granule);
		}
		if (job)
			atomic_fetch_add(&job->bytes_done, next - offset);
		offset = next;
	}
	return 0;
}

int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job)
{
	struct vfb_span span;
	int error;

	vfb_observe_begin(&span, &memory->ctx->observer, VFB_PHASE_POPULATE);
	error = populate_steps(memory, offset, offset + bytes, job);
	vfb_observe_end(&span, .operation = "MADV_POPULATE_WRITE", .result = error,
			.address = (uintptr_t)memory->address + offset, .bytes = bytes,
			.page_bytes = memory->page_bytes, .node = node);
	/* vfb_room_take() has reported it. */
	if (error == -EDQUOT)
		return -ENOMEM;
	return error && error != -ECANCELED ? explain_failure(memory, error, node) : error;
}

uint64_t vfb_memory_piece_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
				unsigned int width)
{
	uint64_t align = memory->bulk_bytes ? GIB : vfb_memory_granule(memory), piece;
	/*
	 * Populating: the last to finish is late by a sixteenth on average. What only has to be
	 * mapped is done so soon that more calls cost more than they even out (measured).
	 */
	unsigned int for_each = vfb_memory_was_populated(memory, offset, bytes) ? 2 : 8;

	/* A region of a device is one run of physical addresses. */
	if (memory->region) {
		piece = bytes;
	} else if (width) {
		piece = (bytes + width - 1) / width;
	} else {
		piece = bytes / (for_each * vfb_engine_workers(memory->ctx->engine));
		if (piece < 16 * MIB)
			piece = 16 * MIB;
		if (piece > GIB)
			piece = GIB;
	}
	return round_up(piece, align);
}
