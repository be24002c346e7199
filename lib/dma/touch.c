/* SPDX-License-Identifier: MIT */
/* Mapping windows that are touched, and holding them. */
#include <errno.h>
#include <inttypes.h>

#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "observe/lanes.h"

/* What a thread populates and maps before others can take it: as long as a huge page takes. */
#define RUN_BYTES (2 * MIB)

/* The part of a space that is touched: from @at to @end is left. */
struct touch {
	struct vfb_space *space;
	uint64_t at, end;
	bool holds;
};

/* Windows that this thread has taken. */
struct touched_run {
	struct vfb_demand *demand;
	size_t first, count;
	/* It counts as a job. */
	bool begun;
	/* So many of them have been mapped. */
	size_t mapped;
};

/* Holds a window if it is mapped, or only looks. */
static bool use_window(struct vfb_window *window, bool holds)
{
	unsigned int word = atomic_load(&window->word);

	do {
		if ((word & VFB_WINDOW_STATE) != VFB_WINDOW_MAPPED)
			return false;
		if (!holds)
			return true;
		if (word / VFB_WINDOW_HOLD == VFB_WINDOW_MAX_HOLDS)
			return false;
	} while (!atomic_compare_exchange_weak(&window->word, &word, word + VFB_WINDOW_HOLD));
	return true;
}

/* Advances over the windows that are mapped. A line is only written to when that changes it. */
static void touch_mapped(struct touch *touch, struct vfb_demand *demand, uint64_t end)
{
	unsigned int tick = atomic_load_explicit(&touch->space->demands.tick, memory_order_relaxed);
	size_t number = vfb_demand_number(demand, touch->at);

	for (; touch->at < end; number++) {
		struct vfb_window *window = &demand->windows[number];
		uint64_t next = demand->iova + (number + 1) * demand->window_bytes;

		if (!use_window(window, touch->holds))
			return;
		if (atomic_load_explicit(&window->stamp, memory_order_relaxed) != tick)
			atomic_store_explicit(&window->stamp, tick, memory_order_relaxed);
		touch->at = next < end ? next : end;
	}
}

static uint64_t touch_end_in(const struct touch *touch, const struct vfb_demand *demand)
{
	uint64_t end = vfb_demand_end(demand);

	return end < touch->end ? end : touch->end;
}

/* ---- Mapping ---- */

static uint64_t run_iova(const struct touched_run *run)
{
	return run->demand->iova + run->first * run->demand->window_bytes;
}

/* Whether all of it belongs to the range, as the index has it now. */
static int check_run_locked(const struct vfb_space *space, const struct touched_run *run)
{
	uint64_t iova = run_iova(run), end = iova + run->count * run->demand->window_bytes;

	while (iova < end) {
		const struct vfb_mapping *mapping = vfb_index_at(&space->index, iova);

		if (!mapping || mapping->demand != run->demand ||
		    mapping->state != VFB_MAPPING_DONE)
			return vfb_fail(-EBUSY,
					"another job unmaps, discards or restores IOVA 0x%" PRIx64
					": wait for it",
					iova);
		if (mapping->discarded)
			return vfb_fail(-ENOENT,
					"IOVA 0x%" PRIx64 " is discarded: restore it first "
					"(vfb_memory_restore())",
					iova);
		iova = mapping->at.iova + mapping->at.bytes;
	}
	return 0;
}

/* The domain stays, and the range, until vfb_space_job_end(). */
static int begin_run(struct vfb_space *space, struct touched_run *run)
{
	int error = 0;

	pthread_mutex_lock(&space->lock);
	if (space->released)
		error = vfb_fail(-EBUSY, "the addresses of the space were released: another "
					 "process owns its mappings");
	else if (space->ending)
		error = vfb_fail(-EBUSY, "another thread destroys the space");
	else if (!space->domain)
		error = vfb_fail(-ENXIO,
				 "IOVA 0x%" PRIx64 " cannot be mapped while no device is open in "
				 "the space: open one first",
				 run_iova(run));
	else
		error = check_run_locked(space, run);
	run->begun = !error;
	space->jobs += run->begun;
	pthread_mutex_unlock(&space->lock);
	return error;
}

static int populate_run(struct vfb_space *space, const struct touched_run *run)
{
	struct vfb_demand *demand = run->demand;
	uint64_t offset = demand->offset + run->first * demand->window_bytes;
	uint64_t bytes = run->count * demand->window_bytes;
	bool populated = true;
	int error;

	for (size_t i = 0; i < run->count && populated; i++)
		populated = atomic_load(&demand->windows[run->first + i].word) &
			    VFB_WINDOW_POPULATED;
	if (populated || vfb_memory_is_populated(demand->memory, offset, bytes))
		return 0;
	error = vfb_memory_populate_range(demand->memory, offset, bytes,
					  vfb_memory_node(demand->memory, offset, 0), NULL);
	if (!error)
		atomic_fetch_add(&space->demands.populated_bytes, bytes);
	return error;
}

static int map_run(struct vfb_space *space, struct touched_run *run)
{
	struct vfb_demand *demand = run->demand;
	int error = begin_run(space, run);

	if (!error)
		error = populate_run(space, run);
	while (run->mapped < run->count && !error) {
		uint64_t at = (run->first + run->mapped) * demand->window_bytes;

		error = vfb_space_map_one(space, demand->memory, demand->offset + at,
					  demand->window_bytes, demand->iova + at, demand->flags);
		run->mapped += !error;
	}
	return error;
}

static void finish_run(struct touch *touch, struct touched_run *run)
{
	struct vfb_demands *demands = &touch->space->demands;
	struct vfb_window *windows = &run->demand->windows[run->first];
	unsigned int tick = atomic_fetch_add(&demands->tick, 1) + 1;
	uint64_t end = run_iova(run) + run->mapped * run->demand->window_bytes;

	atomic_fetch_add(&demands->mapped, run->mapped);
	atomic_fetch_add(&demands->mapped_bytes, run->mapped * run->demand->window_bytes);
	for (size_t i = 0; i < run->count; i++) {
		if (i < run->mapped)
			atomic_store(&windows[i].stamp, tick);
		vfb_window_set(demands, &windows[i],
			       i < run->mapped ? VFB_WINDOW_MAPPED : VFB_WINDOW_ABSENT,
			       i < run->mapped ? VFB_WINDOW_POPULATED : 0,
			       i < run->mapped && touch->holds);
	}
	if (run->begun)
		vfb_space_job_end(touch->space);
	if (run->mapped)
		touch->at = end < touch->end ? end : touch->end;
}

/* Takes the windows from @touch->at on that are absent, and maps them. None: another thread was
 * faster. */
static int touch_absent(struct touch *touch, struct vfb_demand *demand, uint64_t end)
{
	struct touched_run run = {.demand = demand, .first = vfb_demand_number(demand, touch->at)};
	size_t limit = vfb_demand_number(demand, end - 1) + 1 - run.first;
	int error;

	if (limit > 1 + (RUN_BYTES - 1) / demand->window_bytes)
		limit = 1 + (RUN_BYTES - 1) / demand->window_bytes;
	while (run.count < limit &&
	       vfb_window_take(&demand->windows[run.first + run.count], VFB_WINDOW_ABSENT))
		run.count++;
	if (!run.count)
		return 0;
	error = map_run(touch->space, &run);
	finish_run(touch, &run);
	return error;
}

static int touch_window(struct touch *touch, struct vfb_demand *demand, uint64_t end)
{
	struct vfb_window *window = &demand->windows[vfb_demand_number(demand, touch->at)];
	unsigned int word = atomic_load(&window->word);

	switch (word & VFB_WINDOW_STATE) {
	case VFB_WINDOW_ABSENT:
		return touch_absent(touch, demand, end);
	case VFB_WINDOW_BUSY:
		atomic_fetch_add(&touch->space->demands.coalesced, 1);
		vfb_window_wait(touch->space, window);
		return 0;
	case VFB_WINDOW_CLAIMED:
		return vfb_fail(-EBUSY,
				"another job unmaps, discards or restores IOVA 0x%" PRIx64
				": wait for it",
				touch->at);
	}
	if (touch->holds && word / VFB_WINDOW_HOLD == VFB_WINDOW_MAX_HOLDS)
		return vfb_fail(-EOVERFLOW,
				"the window at IOVA 0x%" PRIx64
				" is held %u times: end holds with vfb_space_unhold()",
				touch->at, VFB_WINDOW_MAX_HOLDS);
	return 0;
}

static int touch_range(struct touch *touch)
{
	struct vfb_demand *demand;
	uint64_t end;
	int error = vfb_demand_find(touch->space, touch->at, &demand, &end);

	if (error)
		return error;
	if (!demand) {
		touch->at = end < touch->end ? end : touch->end;
		return 0;
	}
	end = touch_end_in(touch, demand);
	while (!error && touch->at < end) {
		touch_mapped(touch, demand, end);
		if (touch->at < end)
			error = touch_window(touch, demand, end);
	}
	vfb_demand_unref(demand);
	return error;
}

int vfb_touch_windows(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	struct touch touch = {.space = space, .at = iova, .end = iova + bytes};
	int error = 0;

	while (touch.at < touch.end && !error)
		error = touch_range(&touch);
	return error;
}

/* ---- The interface ---- */

int vfb_touch_check(uint64_t iova, uint64_t bytes)
{
	return iova + bytes < iova ?
		       vfb_fail(-EINVAL,
				"%s at IOVA 0x%" PRIx64 " end beyond the 64-bit address space",
				vfb_size_text(bytes).text, iova) :
		       0;
}

static int touch_rest(struct touch *touch)
{
	struct vfb_observer *observer = &touch->space->ctx->observer;
	uint64_t begin = touch->at;
	struct vfb_span span;
	int error = vfb_observer_check_process(observer) ?: vfb_observe_check_wait();

	if (error)
		return error;
	vfb_observe_begin(&span, observer, VFB_PHASE_TOUCH);
	while (touch->at < touch->end && !error)
		error = touch_range(touch);
	vfb_observe_end(&span, .operation = touch->holds ? "hold" : "touch", .result = error,
			.iova = begin, .bytes = touch->end - begin, .node = VFB_ANY_NODE);
	return error;
}

/* In spaces without windows everything is mapped, and translation finds it without a lock. */
static int touch_static(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	int pieces = vfb_space_translate(space, iova, bytes, NULL, 0);

	return pieces < 0 ? pieces : 0;
}

static int touch_part(struct vfb_space *space, uint64_t iova, uint64_t bytes, bool holds)
{
	struct touch touch = {space, iova, iova + bytes, holds};
	struct vfb_demands *demands = &space->demands;
	int error = vfb_touch_check(iova, bytes);
	const struct vfb_sys *sys = space->ctx->sys;
	char text[VFB_ERROR_BYTES];
	struct vfb_demand *demand;

	if (error || !bytes)
		return error;
	if (!vfb_demands_have_windows(demands))
		return touch_static(space, iova, bytes);
	atomic_fetch_add_explicit(&demands->touches[VFB_LANE_OF(sys->current_cpu(sys))].count, 1,
				  memory_order_relaxed);
	vfb_demand_read_begin();
	demand = vfb_demand_look_up(demands, iova);
	if (demand)
		touch_mapped(&touch, demand, touch_end_in(&touch, demand));
	vfb_demand_read_end(demands);
	if (touch.at == touch.end)
		return 0;
	error = touch_rest(&touch);
	if (error && holds && touch.at > iova) {
		vfb_error_save(text);
		vfb_space_unhold(space, iova, touch.at - iova);
		vfb_error_restore(text);
	}
	return error;
}

int vfb_space_touch(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	return touch_part(space, iova, bytes, false);
}

int vfb_space_hold(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	return touch_part(space, iova, bytes, true);
}
