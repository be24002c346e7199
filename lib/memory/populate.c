/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/mman.h>

#include "memory/cause.h"
#include "memory/pace.h"
#include "memory/room.h"
#include "memory/ways.h"
#include "round.h"
#include "sys/uapi.h"

/* For less a child is not worth while. */
#define TOUCH_MIN_BYTES (16 * MIB)

/* What a worker populates. */
struct populating {
	struct vfb_memory *memory;
	struct vfb_job *job;
	/* Follows what is populated; a failure leaves it at its step. */
	uint64_t offset;
	/* It may be touched in user mode; some of it has been. */
	bool may_touch, touched;
	/* So much was populated by MADV_POPULATE_WRITE. */
	uint64_t advised_bytes;
};

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
 * few enough for progress to be shown: more where pieces are large, since there are many of those.
 */
#define STRETCH_BYTES	   (64 * MIB)
#define LONG_STRETCH_BYTES (256 * MIB)

struct stretch {
	uint64_t end;
	/* Base pages: what it may use was taken for all of it, on this node. */
	bool granted;
	int node;
};

/* @size: a power of two. */
static uint64_t end_of_multiple(uint64_t offset, uint64_t size, uint64_t end)
{
	uint64_t next = (offset | (size - 1)) + 1;

	return next < end ? next : end;
}

static struct stretch stretch_begin(struct vfb_memory *memory, uint64_t offset, uint64_t end,
				    uint64_t most)
{
	uint64_t size = vfb_memory_granule(memory), step = end_of_multiple(offset, size, end);
	struct stretch stretch = {.end = step, .node = VFB_ROOM_ANYWHERE};

	/* With a limit each step may take seconds. */
	if (size < STRETCH_BYTES && !vfb_pace_is_limited(memory->ctx->pace))
		stretch.end = end_of_multiple(offset, most, end);
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

/* By MADV_POPULATE_WRITE. */
static int advise_part(struct populating *at, uint64_t end, bool in_room)
{
	struct vfb_memory *memory = at->memory;
	uint64_t size = vfb_memory_granule(memory);
	int error = 0;

	while (at->offset < end && !error) {
		uint64_t bytes = end_of_multiple(at->offset, size, end) - at->offset;

		vfb_pace_wait(memory->ctx->pace, bytes, at->job);
		if (vfb_job_stopped(at->job))
			return -ECANCELED;
		error = in_room ? populate_step(memory, at->offset, bytes) :
				  populate_base_pages(memory, at->offset, bytes);
		if (!error) {
			at->offset += bytes;
			at->advised_bytes += bytes;
		}
	}
	return error;
}

/*
 * In user mode. Pages that remain untouched, for whatever reason, are for MADV_POPULATE_WRITE,
 * which returns an error where a touch raises a signal.
 */
static int touch_part(struct populating *at, uint64_t end)
{
	struct vfb_memory *memory = at->memory;
	const struct vfb_sys *sys = memory->ctx->sys;
	struct vfb_touch touch = {
		.address = memory->address + at->offset,
		.bytes = end - at->offset,
		.page_bytes = vfb_memory_page_at(memory, at->offset),
		.stop = &at->job->stopped,
	};
	int error = sys->touch_range(sys, &touch);

	at->offset += touch.touched < touch.bytes ? touch.touched : touch.bytes;
	at->touched = at->touched || touch.touched;
	/* One process more may be too many now, and under valgrind, it always is. */
	at->may_touch = !error;
	return error == -ECANCELED ? error : 0;
}

/* By the way that is cheaper, as far as is known, which is measured. */
static int populate_part(struct populating *at, uint64_t end)
{
	struct vfb_ctx *ctx = at->memory->ctx;
	uint64_t offset = at->offset, begin = ctx->sys->now(ctx->sys), most;
	enum vfb_way way = vfb_ways_choose(ctx->ways, at->memory, &most);
	int error;

	most = round_up(most, vfb_memory_granule(at->memory));
	if (most < end - offset)
		end = offset + most;
	error = way == VFB_WAY_TOUCH ? touch_part(at, end) : advise_part(at, end, true);
	if (at->offset == end)
		vfb_ways_add(ctx->ways, at->memory, way, end - offset,
			     ctx->sys->now(ctx->sys) - begin);
	return error;
}

/* A part in which nothing is marked as populated. */
static int populate_absent(struct populating *at, uint64_t end, bool in_room)
{
	int error = 0;

	while (at->offset < end && !error) {
		/* Small steps are easier to pace. */
		if (in_room && at->may_touch && !vfb_pace_is_limited(at->memory->ctx->pace))
			error = populate_part(at, end);
		else
			error = advise_part(at, end, in_room);
	}
	return error;
}

static int populate_stretch(struct populating *at, const struct stretch *stretch)
{
	bool in_room = stretch->granted || vfb_memory_is_hugetlb(at->memory), populated;
	int error = 0;

	while (at->offset < stretch->end && !error) {
		uint64_t end = vfb_memory_same_end(at->memory, at->offset, stretch->end,
						   &populated);

		if (!populated)
			error = populate_absent(at, end, in_room);
		/* If pages are missing, granules are marked as absent, and seen next time. */
		else if (vfb_memory_is_populated(at->memory, at->offset, end - at->offset))
			at->offset = end;
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

static int populate_steps(struct populating *at, uint64_t end)
{
	struct vfb_memory *memory = at->memory;
	uint64_t most = end - at->offset < GIB ? STRETCH_BYTES : LONG_STRETCH_BYTES;
	int error = 0;

	while (at->offset < end && !error) {
		struct stretch stretch = stretch_begin(memory, at->offset, end, most);
		uint64_t begin = at->offset;

		error = populate_stretch(at, &stretch);
		if (stretch.granted)
			vfb_room_populated(memory->ctx->room, stretch.node, stretch.end - begin);
		mark_whole_granules(memory, begin, at->offset);
		if (at->job)
			atomic_fetch_add(&at->job->bytes_done, at->offset - begin);
	}
	return error;
}

int vfb_memory_populate_range(struct vfb_memory *memory, uint64_t offset, uint64_t bytes, int node,
			      struct vfb_job *job)
{
	struct populating at = {.memory = memory, .job = job, .offset = offset};
	uint64_t end = offset + bytes;
	struct vfb_span span;
	uint64_t step;
	int error;

	vfb_observe_begin(&span, &memory->ctx->observer, VFB_PHASE_POPULATE);
	/* Without a job this is a thread of the caller, who waits for little. */
	at.may_touch = job && bytes >= TOUCH_MIN_BYTES && vfb_ways_may_touch(memory, job);
	error = populate_steps(&at, end);
	atomic_store_explicit(&memory->advised, at.advised_bytes > bytes / 2, memory_order_relaxed);
	vfb_observe_end(&span, .operation = at.touched ? "touch" : "MADV_POPULATE_WRITE",
			.result = error, .address = (uintptr_t)memory->address + offset,
			.bytes = bytes, .page_bytes = memory->page_bytes, .node = node);
	/* vfb_room_take() has reported it. */
	if (error == -EDQUOT)
		return -ENOMEM;
	if (!error || error == -ECANCELED)
		return error;
	step = end_of_multiple(at.offset, vfb_memory_granule(memory), end);
	return vfb_populate_failed(memory, at.offset, step - at.offset, error, node);
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
