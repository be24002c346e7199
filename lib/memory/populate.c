/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/mman.h>

#include "memory/cause.h"
#include "memory/pace.h"
#include "memory/room.h"
#include "round.h"
#include "sys/uapi.h"

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
	return error;
}

/* If base pages run out, the kernel kills a process instead of returning an error. */
static int populate_base_pages(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	struct vfb_room *room = memory->ctx->room;
	int node = vfb_memory_strict_node(memory, offset), error;

	/* If the caller has populated the part, nothing more is needed. */
	if (vfb_room_take(room, node, bytes))
		return vfb_memory_absent_bytes(memory, offset, bytes) ?
			       -EDQUOT :
			       populate_step(memory, offset, bytes);
	error = populate_step(memory, offset, bytes);
	vfb_room_populated(room, node, bytes);
	return error;
}

/* The steps of vfb_memory_populate_range(), from *@at on, which a failure leaves at its step. */
static int populate_steps(struct vfb_memory *memory, uint64_t *at, uint64_t end,
			  struct vfb_job *job)
{
	uint64_t size = vfb_memory_granule(memory), offset;

	while ((offset = *at) < end) {
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
			error = vfb_memory_is_hugetlb(memory) ?
					populate_step(memory, offset, next - offset) :
					populate_base_pages(memory, offset, next - offset);
			if (error)
				return error;
			if (whole)
				vfb_memory_mark_populated(memory, granule);
		}
		if (job)
			atomic_fetch_add(&job->bytes_done, next - offset);
		*at = next;
	}
	return 0;
}

/* Of the step at @offset. */
static uint64_t step_bytes(const struct vfb_memory *memory, uint64_t offset, uint64_t end)
{
	uint64_t size = vfb_memory_granule(memory), next = (offset / size + 1) * size;

	return (next < end ? next : end) - offset;
}

int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job)
{
	struct vfb_span span;
	uint64_t failed = offset;
	int error;

	vfb_observe_begin(&span, &memory->ctx->observer, VFB_PHASE_POPULATE);
	error = populate_steps(memory, &failed, offset + bytes, job);
	vfb_observe_end(&span, .operation = "MADV_POPULATE_WRITE", .result = error,
			.address = (uintptr_t)memory->address + offset, .bytes = bytes,
			.page_bytes = memory->page_bytes, .node = node);
	/* vfb_room_take() has reported it. */
	if (error == -EDQUOT)
		return -ENOMEM;
	if (!error || error == -ECANCELED)
		return error;
	return vfb_populate_failed(memory, failed, step_bytes(memory, failed, offset + bytes),
				   error, node);
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
