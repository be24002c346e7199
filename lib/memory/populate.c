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

/* Interrupted, or on a kernel that cannot do it, or a real failure. */
static int populate_step_again(struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
			       int error)
{
	const struct vfb_sys *sys = memory->ctx->sys;

	while (error == -EINTR || error == -EAGAIN)
		error = sys->madvise(sys, memory->address + offset, bytes, MADV_POPULATE_WRITE);
	if (error == -EINVAL && !kernel_can_populate(memory))
		error = touch_pages(memory, offset, bytes);
	return error;
}

static inline int populate_step(struct vfb_memory *memory, uint64_t offset, uint64_t bytes)
{
	const struct vfb_sys *sys = memory->ctx->sys;
	int error = sys->madvise(sys, memory->address + offset, bytes, MADV_POPULATE_WRITE);

	return error ? populate_step_again(memory, offset, bytes, error) : 0;
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

/*
 * Many steps, after which the worker looks at what all workers share: locks and counters. They are
 * few enough for progress to be shown.
 */
#define STRETCH_BYTES (64 * MIB)

struct stretch {
	uint64_t end;
	/* Base pages: what it may use was taken for all of it, on this node. */
	bool granted;
	int node;
};

static uint64_t end_of_multiple(uint64_t offset, uint64_t size, uint64_t end)
{
	uint64_t next = (offset / size + 1) * size;

	return next < end ? next : end;
}

static struct stretch stretch_begin(struct vfb_memory *memory, uint64_t offset, uint64_t end)
{
	uint64_t size = vfb_memory_granule(memory), step = end_of_multiple(offset, size, end);
	struct stretch stretch = {.end = step, .node = VFB_ROOM_ANYWHERE};

	/* With a limit each step may take seconds. */
	if (size < STRETCH_BYTES && !vfb_pace_is_limited(memory->ctx->pace))
		stretch.end = end_of_multiple(offset, STRETCH_BYTES, end);
	if (vfb_memory_is_hugetlb(memory))
		return stretch;
	if (stretch.end <= vfb_memory_policy_end(memory, offset)) {
		stretch.node = vfb_memory_strict_node(memory, offset);
		stretch.granted = vfb_room_try_take(memory->ctx->room, stretch.node,
						    stretch.end - offset);
	}
	/* The step reads the limits, and may find that there is more. */
	if (!stretch.granted)
		stretch.end = step;
	return stretch;
}

/* A part in which nothing is marked as populated. *@at follows what is populated. */
static int populate_absent(struct vfb_memory *memory, uint64_t *at, uint64_t end, bool in_room,
			   struct vfb_job *job)
{
	uint64_t size = vfb_memory_granule(memory), next = (*at / size + 1) * size;

	for (; *at < end; *at = next, next += size) {
		int error;

		if (next > end)
			next = end;
		vfb_pace_wait(memory->ctx->pace, next - *at, job);
		if (vfb_job_stopped(job))
			return -ECANCELED;
		error = in_room ? populate_step(memory, *at, next - *at) :
				  populate_base_pages(memory, *at, next - *at);
		if (error)
			return error;
	}
	return 0;
}

static int populate_stretch(struct vfb_memory *memory, uint64_t *at, const struct stretch *stretch,
			    struct vfb_job *job)
{
	bool in_room = stretch->granted || vfb_memory_is_hugetlb(memory), populated;
	int error = 0;

	while (*at < stretch->end && !error) {
		uint64_t end = vfb_memory_same_end(memory, *at, stretch->end, &populated);

		if (!populated)
			error = populate_absent(memory, at, end, in_room, job);
		/* If pages are missing, granules are marked as absent, and seen next time. */
		else if (vfb_memory_is_populated(memory, *at, end - *at))
			*at = end;
	}
	return error;
}

/* Marks the granules that are completely in a part. */
static void mark_whole_granules(struct vfb_memory *memory, uint64_t offset, uint64_t end)
{
	uint64_t size = vfb_memory_granule(memory);
	uint64_t first = (offset + size - 1) / size;
	uint64_t last = end == memory->bytes ? (end + size - 1) / size : end / size;

	if (last > first)
		vfb_memory_mark_populated(memory, first, last - first);
}

/* The steps of vfb_memory_populate_range(), from *@at on, which a failure leaves at its step. */
static int populate_steps(struct vfb_memory *memory, uint64_t *at, uint64_t end,
			  struct vfb_job *job)
{
	int error = 0;

	while (*at < end && !error) {
		struct stretch stretch = stretch_begin(memory, *at, end);
		uint64_t begin = *at;

		error = populate_stretch(memory, at, &stretch, job);
		if (stretch.granted)
			vfb_room_populated(memory->ctx->room, stretch.node, stretch.end - begin);
		mark_whole_granules(memory, begin, *at);
		if (job)
			atomic_fetch_add(&job->bytes_done, *at - begin);
	}
	return error;
}

int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job)
{
	struct vfb_span span;
	uint64_t failed = offset, step;
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
	step = end_of_multiple(failed, vfb_memory_granule(memory), offset + bytes);
	return vfb_populate_failed(memory, failed, step - failed, error, node);
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
