/* SPDX-License-Identifier: MIT */
/* Ending holds of windows. */
#include <errno.h>
#include <inttypes.h>

#include "dma/space.h"
#include "observe/error.h"

static bool drop_hold(struct vfb_window *window)
{
	unsigned int word = atomic_load(&window->word);

	do {
		if (word < VFB_WINDOW_HOLD)
			return false;
	} while (!atomic_compare_exchange_weak(&window->word, &word, word - VFB_WINDOW_HOLD));
	return true;
}

/* Of a part of one range, or only checks. Advances @at. */
static int unhold_range(struct vfb_demand *demand, uint64_t *at, uint64_t last, bool drop)
{
	uint64_t end = vfb_demand_end(demand) < last ? vfb_demand_end(demand) : last;

	for (size_t number = vfb_demand_number(demand, *at); *at < end; number++) {
		struct vfb_window *window = &demand->windows[number];
		uint64_t next = demand->iova + (number + 1) * demand->window_bytes;

		if (drop ? !drop_hold(window) : atomic_load(&window->word) < VFB_WINDOW_HOLD)
			return vfb_fail(-EINVAL,
					"the window at IOVA 0x%" PRIx64 " is not held: pass what "
					"was passed to vfb_space_hold(), once",
					*at);
		*at = next < end ? next : end;
	}
	return 0;
}

static int unhold_next(struct vfb_space *space, uint64_t *at, uint64_t last, bool drop)
{
	struct vfb_demand *demand;
	uint64_t end;
	int error = 0;

	vfb_demand_read_begin();
	demand = vfb_demand_look_up(&space->demands, *at);
	/* It may be a range that was unmapped, whose windows nobody can hold. */
	if (demand &&
	    atomic_load(&demand->windows[vfb_demand_number(demand, *at)].word) >= VFB_WINDOW_HOLD) {
		error = unhold_range(demand, at, last, drop);
		vfb_demand_read_end(&space->demands);
		return error;
	}
	vfb_demand_read_end(&space->demands);
	error = vfb_demand_find(space, *at, &demand, &end);
	if (error)
		return error;
	if (demand)
		error = unhold_range(demand, at, last, drop);
	else
		*at = end < last ? end : last;
	vfb_demand_unref(demand);
	return error;
}

int vfb_space_unhold(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	uint64_t end = iova + bytes;
	int error = vfb_touch_check(iova, bytes);

	if (error || !vfb_demands_have_windows(&space->demands))
		return error;
	/* All of it is checked before anything changes. */
	for (int drop = 0; drop < 2; drop++)
		for (uint64_t at = iova; at < end && !error;)
			error = unhold_next(space, &at, end, drop);
	return error;
}
