/* SPDX-License-Identifier: MIT */
/* Evicting the windows that were touched longest ago. */
#include <errno.h>
#include <stdlib.h>

#include "dma/fault.h"
#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "observe/lanes.h"
#include "options.h"

/* A window that could be evicted. */
struct trim_window {
	struct vfb_demand *demand;
	size_t number;
	/* How many ticks ago it was touched. */
	unsigned int age;
};

struct trim {
	struct vfb_space *space;
	struct vfb_demand **demands;
	size_t demand_count;
	struct vfb_window_list {
		struct trim_window *windows;
		size_t count, room;
	} list;
	uint64_t evicted_bytes;
};

static uint64_t trim_iova(const struct trim_window *window)
{
	return window->demand->iova + window->number * window->demand->window_bytes;
}

static int by_trim_iova(const void *a, const void *b)
{
	uint64_t left = trim_iova(a), right = trim_iova(b);

	return (left > right) - (left < right);
}

/* The oldest first. */
static int by_age(const void *a, const void *b)
{
	const struct trim_window *left = a, *right = b;

	if (left->age != right->age)
		return left->age > right->age ? -1 : 1;
	return by_trim_iova(a, b);
}

static int trim_begin(struct trim *trim)
{
	struct vfb_space *space = trim->space;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	if (space->released || space->ending)
		error = vfb_fail(-EBUSY, "the addresses of the space were released, or it is being "
					 "destroyed: nothing can be evicted");
	/* Without the domain nothing is mapped, or is about to be forgotten. */
	if (!error && (space->domain || !space->iommu->ops->mappings_need_domain))
		error = vfb_demand_list_locked(space, &trim->demands, &trim->demand_count);
	space->jobs += !error;
	pthread_mutex_unlock(&space->lock);
	return error;
}

static int add_window(struct vfb_window_list *list, struct trim_window window)
{
	if (list->count == list->room) {
		size_t room = 2 * list->room + 64;
		struct trim_window *grown = reallocarray(list->windows, room, sizeof(*grown));

		if (!grown)
			return vfb_fail_memory();
		list->windows = grown;
		list->room = room;
	}
	list->windows[list->count++] = window;
	return 0;
}

/* Lists the windows that are mapped and not held. */
static int list_windows(struct trim *trim)
{
	unsigned int tick = atomic_fetch_add(&trim->space->demands.tick, 1);
	int error = 0;

	for (size_t i = 0; i < trim->demand_count; i++) {
		struct vfb_demand *demand = trim->demands[i];

		for (size_t n = 0; n < demand->count && !error; n++) {
			struct vfb_window *window = &demand->windows[n];
			unsigned int word = atomic_load(&window->word);
			unsigned int age = tick - atomic_load(&window->stamp);

			if ((word & VFB_WINDOW_STATE) != VFB_WINDOW_MAPPED ||
			    word >= VFB_WINDOW_HOLD)
				continue;
			/* Touched since the tick was read. */
			if (age > UINT32_MAX / 2)
				age = 0;
			error = add_window(&trim->list, (struct trim_window){demand, n, age});
		}
	}
	return error;
}

/* The number of the oldest windows that have so many bytes. */
static size_t count_oldest(const struct vfb_window_list *list, uint64_t bytes)
{
	uint64_t sum = 0;
	size_t count = 0;

	while (count < list->count && sum < bytes)
		sum += list->windows[count++].demand->window_bytes;
	return count;
}

/* Evicts adjacent windows with one call, since the kernel unmaps what lies within an area. Returns
 * how many of the @count windows were passed over. */
static size_t evict_run(struct trim *trim, const struct trim_window *windows, size_t count,
			int *error)
{
	struct vfb_demands *demands = &trim->space->demands;
	uint64_t window_bytes = windows[0].demand->window_bytes;
	size_t run = 0;

	while (run < count && windows[run].demand == windows[0].demand &&
	       windows[run].number == windows[0].number + run &&
	       vfb_window_take(&windows[run].demand->windows[windows[run].number],
			       VFB_WINDOW_MAPPED))
		run++;
	/* It has been held, claimed or evicted since. */
	if (!run)
		return 1;
	*error = vfb_space_unmap_one(trim->space, trim_iova(windows), run * window_bytes);
	if (!*error) {
		atomic_fetch_sub(&demands->mapped_bytes, run * window_bytes);
		atomic_fetch_add(&demands->evicted, run);
		trim->evicted_bytes += run * window_bytes;
	}
	for (size_t i = 0; i < run; i++)
		vfb_window_set(demands, &windows[i].demand->windows[windows[i].number],
			       *error ? VFB_WINDOW_MAPPED : VFB_WINDOW_ABSENT, 0, 0);
	return run;
}

static int evict_oldest(struct trim *trim, uint64_t bytes)
{
	struct trim_window *windows = trim->list.windows;
	size_t count;
	int error = 0;

	if (trim->list.count)
		qsort(windows, trim->list.count, sizeof(*windows), by_age);
	count = count_oldest(&trim->list, bytes);
	if (count)
		qsort(windows, count, sizeof(*windows), by_trim_iova);
	for (size_t i = 0; i < count && !error;)
		i += evict_run(trim, &windows[i], count - i, &error);
	return error;
}

static uint64_t excess_bytes(const struct trim *trim, uint64_t target)
{
	uint64_t mapped = atomic_load(&trim->space->demands.mapped_bytes);

	return mapped > target ? mapped - target : 0;
}

static int trim_to(struct trim *trim, uint64_t target)
{
	int error = excess_bytes(trim, target) ? list_windows(trim) : 0;
	uint64_t left;

	if (!error && excess_bytes(trim, target))
		error = evict_oldest(trim, excess_bytes(trim, target));
	left = excess_bytes(trim, target);
	if (!error && left)
		error = vfb_fail(-EBUSY,
				 "%s of the windows cannot be evicted beyond those that were: they "
				 "are held or in use",
				 vfb_size_text(left).text);
	return error;
}

static void trim_end(struct trim *trim)
{
	for (size_t i = 0; i < trim->demand_count; i++)
		vfb_demand_unref(trim->demands[i]);
	free(trim->demands);
	free(trim->list.windows);
	vfb_space_job_end(trim->space);
}

int vfb_space_trim(struct vfb_space *space, uint64_t mapped_bytes)
{
	struct vfb_observer *observer = &space->ctx->observer;
	int error = vfb_observer_check_process(observer) ?: vfb_observe_check_wait();
	struct trim trim = {.space = space};
	struct vfb_span span;

	if (error || !vfb_demands_have_windows(&space->demands))
		return error;
	error = trim_begin(&trim);
	if (error)
		return error;
	vfb_observe_begin(&span, observer, VFB_PHASE_TRIM);
	error = trim_to(&trim, mapped_bytes);
	vfb_observe_end(&span, .operation = "trim", .result = error, .bytes = trim.evicted_bytes,
			.node = VFB_ANY_NODE);
	trim_end(&trim);
	return error;
}

int vfb_space_on_demand_info(struct vfb_space *space, struct vfb_on_demand_info *info)
{
	struct vfb_demands *demands = &space->demands;
	struct vfb_on_demand_info known = {
		.way = demands->way,
		.reason = demands->reason,
		.mapped = atomic_load(&demands->mapped),
		.coalesced = atomic_load(&demands->coalesced),
		.evicted = atomic_load(&demands->evicted),
		.mapped_bytes = atomic_load(&demands->mapped_bytes),
		.populated_bytes = atomic_load(&demands->populated_bytes),
	};

	for (size_t i = 0; demands->touches && i < VFB_LANES; i++)
		known.touches += atomic_load(&demands->touches[i].count);
	if (demands->faults)
		vfb_faults_info(demands->faults, &known);
	return vfb_struct_write(info, &known, sizeof(known));
}
