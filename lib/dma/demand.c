/* SPDX-License-Identifier: MIT */
/* Ranges that are mapped on demand: their windows, and claims of jobs. */
#include "dma/demand.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "observe/lanes.h"

static int fail_fault(enum vfb_backend backend)
{
	return vfb_fail(-ENOTSUP,
			"mapping on fault (VFB_ON_DEMAND_FAULT): %s: request VFB_ON_DEMAND_TOUCH, "
			"and touch what devices use",
			backend == VFB_BACKEND_TYPE1 ?
				"type1 does not report faults of devices" :
			backend == VFB_BACKEND_SPAPR ?
				"sPAPR does not report faults of devices" :
				"without an IOMMU there are no faults of devices");
}

static int choose_way(struct vfb_demands *demands, const struct vfb_space_opts *opts,
		      enum vfb_backend backend)
{
	demands->way = opts->on_demand;
	demands->reason = "it was requested";
	if (opts->on_demand == VFB_ON_DEMAND_AUTO && opts->fault_fd) {
		demands->way = VFB_ON_DEMAND_FAULT;
		demands->reason = "a queue of faults was passed (vfb_space_opts.fault_fd)";
	} else if (opts->on_demand == VFB_ON_DEMAND_AUTO) {
		demands->way = VFB_ON_DEMAND_STATIC;
		demands->reason = "whether its devices report faults is known only when they are "
				  "opened, so that VFB_ON_DEMAND_FAULT must be requested; and "
				  "touching was not requested (VFB_ON_DEMAND_TOUCH)";
	}
	if (opts->fault_fd && demands->way != VFB_ON_DEMAND_FAULT)
		return vfb_fail(-EINVAL,
				"a queue of faults (vfb_space_opts.fault_fd %" PRId32
				") is of no use without VFB_ON_DEMAND_FAULT",
				opts->fault_fd);
	if (demands->way == VFB_ON_DEMAND_FAULT && backend != VFB_BACKEND_IOMMUFD)
		return fail_fault(backend);
	if (vfb_demands_have_windows(demands) && opts->flags & VFB_SPACE_DIRTY)
		return vfb_fail(-ENOTSUP, "windows that are unmapped lose what the IOMMU has "
					  "tracked (VFB_SPACE_DIRTY with VFB_ON_DEMAND_TOUCH or "
					  "VFB_ON_DEMAND_FAULT): request only one of them");
	return 0;
}

int vfb_demands_init(struct vfb_demands *demands, const struct vfb_space_opts *opts,
		     enum vfb_backend backend)
{
	int error = choose_way(demands, opts, backend);

	if (!error && vfb_demands_have_windows(demands)) {
		demands->touches = vfb_lanes_create();
		error = demands->touches ? 0 : vfb_fail_memory();
	}
	if (error)
		return error;
	pthread_mutex_init(&demands->lock, NULL);
	for (size_t i = 0; i < VFB_WINDOW_QUEUES; i++) {
		pthread_mutex_init(&demands->queues[i].lock, NULL);
		pthread_cond_init(&demands->queues[i].changed, NULL);
	}
	return 0;
}

struct vfb_demand *vfb_demand_create(const struct vfb_range *range, uint64_t window_bytes)
{
	size_t count = range->bytes / window_bytes;
	struct vfb_demand *demand = calloc(1, sizeof(*demand) + count * sizeof(demand->windows[0]));

	if (!demand)
		return NULL;
	demand->refs = 1;
	demand->iova = range->iova;
	demand->offset = range->offset;
	demand->window_bytes = window_bytes;
	demand->memory = range->memory;
	demand->flags = range->flags;
	demand->count = count;
	return demand;
}

void vfb_demand_ref(struct vfb_demand *demand)
{
	atomic_fetch_add(&demand->refs, 1);
}

void vfb_demand_unref(struct vfb_demand *demand)
{
	if (demand && atomic_fetch_sub(&demand->refs, 1) == 1)
		free(demand);
}

/* ---- One window ---- */

bool vfb_window_take(struct vfb_window *window, unsigned int from)
{
	unsigned int word = atomic_load(&window->word);

	do {
		if ((word & VFB_WINDOW_STATE) != from ||
		    (from == VFB_WINDOW_MAPPED && word >= VFB_WINDOW_HOLD))
			return false;
	} while (!atomic_compare_exchange_weak(&window->word, &word,
					       (word & ~VFB_WINDOW_STATE) | VFB_WINDOW_BUSY));
	return true;
}

static struct vfb_window_queue *window_queue(struct vfb_demands *demands,
					     const struct vfb_window *window)
{
	return &demands->queues[(uintptr_t)window / sizeof(*window) % VFB_WINDOW_QUEUES];
}

void vfb_window_set(struct vfb_demands *demands, struct vfb_window *window, unsigned int state,
		    unsigned int flags, unsigned int holds)
{
	struct vfb_space *space = container_of(demands, struct vfb_space, demands);
	const struct vfb_sys *sys = space->ctx->sys;
	unsigned int word = atomic_load(&window->word), next;
	struct vfb_window_queue *queue;

	do {
		next = (word & ~(VFB_WINDOW_STATE | VFB_WINDOW_WAITED)) | state | flags;
		next += holds * VFB_WINDOW_HOLD;
	} while (!atomic_compare_exchange_weak(&window->word, &word, next));
	if (!(word & VFB_WINDOW_WAITED))
		return;
	queue = window_queue(demands, window);
	pthread_mutex_lock(&queue->lock);
	sys->cond_broadcast(sys, &queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

void vfb_window_wait(struct vfb_space *space, struct vfb_window *window)
{
	struct vfb_window_queue *queue = window_queue(&space->demands, window);
	const struct vfb_sys *sys = space->ctx->sys;
	unsigned int word;

	pthread_mutex_lock(&queue->lock);
	word = atomic_load(&window->word);
	while ((word & VFB_WINDOW_STATE) == VFB_WINDOW_BUSY) {
		if (!atomic_compare_exchange_strong(&window->word, &word, word | VFB_WINDOW_WAITED))
			continue;
		sys->cond_wait(sys, &queue->changed, &queue->lock, UINT64_MAX);
		word = atomic_load(&window->word);
	}
	pthread_mutex_unlock(&queue->lock);
}

/* ---- Claims of jobs ---- */

bool vfb_demand_is_whole(const struct vfb_demand *demand, uint64_t iova, uint64_t bytes)
{
	return !((iova - demand->iova) % demand->window_bytes) && !(bytes % demand->window_bytes);
}

static struct vfb_window *windows_of(const struct vfb_mapping *mapping, size_t *count)
{
	struct vfb_demand *demand = mapping->demand;

	*count = mapping->at.bytes / demand->window_bytes;
	return &demand->windows[vfb_demand_number(demand, mapping->at.iova)];
}

/* Makes the windows as the extents are: a part whose pages were returned is no longer populated. */
static void release_windows_locked(struct vfb_space *space, struct vfb_mapping *mapping,
				   size_t count)
{
	uint64_t bytes = mapping->demand->window_bytes, iova = mapping->at.iova, mapped = 0;
	size_t all;
	struct vfb_window *windows = windows_of(mapping, &all);

	for (size_t i = 0; i < count; i++, iova += bytes) {
		bool has = vfb_index_has_extents(&space->index, iova, bytes);

		mapped += has;
		vfb_window_set(&space->demands, &windows[i],
			       has ? VFB_WINDOW_MAPPED : VFB_WINDOW_ABSENT, 0, 0);
	}
	atomic_fetch_add(&space->demands.mapped_bytes, mapped * bytes);
}

int vfb_demand_claim_locked(struct vfb_space *space, struct vfb_mapping *mapping)
{
	struct vfb_window *windows;
	uint64_t mapped = 0;
	size_t count, i;

	if (!mapping->demand)
		return 0;
	windows = windows_of(mapping, &count);
	for (i = 0; i < count; i++) {
		unsigned int word = atomic_load(&windows[i].word);

		do {
			if (word >= VFB_WINDOW_HOLD || (word & VFB_WINDOW_STATE) == VFB_WINDOW_BUSY)
				break;
		} while (
			!atomic_compare_exchange_weak(&windows[i].word, &word, VFB_WINDOW_CLAIMED));
		if (word >= VFB_WINDOW_HOLD || (word & VFB_WINDOW_STATE) == VFB_WINDOW_BUSY)
			break;
		mapped += (word & VFB_WINDOW_STATE) == VFB_WINDOW_MAPPED;
	}
	atomic_fetch_sub(&space->demands.mapped_bytes, mapped * mapping->demand->window_bytes);
	if (i == count)
		return 0;
	release_windows_locked(space, mapping, i);
	return vfb_fail(-EBUSY,
			"the window of %s at IOVA 0x%" PRIx64 " is held, or another thread touches "
			"or evicts it: end that first (vfb_space_unhold())",
			vfb_size_text(mapping->demand->window_bytes).text,
			mapping->at.iova + i * mapping->demand->window_bytes);
}

void vfb_demand_settle_locked(struct vfb_space *space, struct vfb_mapping *mapping)
{
	size_t count;

	if (!mapping->demand)
		return;
	windows_of(mapping, &count);
	release_windows_locked(space, mapping, count);
}

/* ---- All ranges ---- */

void vfb_demand_lose_locked(struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	for (; mapping; mapping = vfb_index_next(mapping)) {
		struct vfb_window *windows;
		size_t count;

		if (!mapping->demand)
			continue;
		windows = windows_of(mapping, &count);
		for (size_t i = 0; i < count; i++) {
			unsigned int word = atomic_load(&windows[i].word);

			/* What is busy has not been mapped: a job would have been waited for. */
			while ((word & VFB_WINDOW_STATE) == VFB_WINDOW_MAPPED &&
			       !atomic_compare_exchange_weak(&windows[i].word, &word,
							     word & ~VFB_WINDOW_STATE))
				;
		}
	}
	atomic_store(&space->demands.mapped_bytes, 0);
}

uint64_t vfb_demand_idle_bytes_locked(struct vfb_space *space)
{
	struct vfb_mapping *mapping = NULL;
	uint64_t bytes = 0, mapped = atomic_load(&space->demands.mapped_bytes);

	if (vfb_demands_have_windows(&space->demands))
		mapping = vfb_index_at(&space->index, 0);
	for (; mapping; mapping = vfb_index_next(mapping))
		if (mapping->demand && !mapping->discarded)
			bytes += mapping->at.bytes;
	return bytes > mapped ? bytes - mapped : 0;
}
