/* SPDX-License-Identifier: MIT */
/*
 * The table in which touches look ranges up. It is built when a range is touched that it lacks. A
 * range that was unmapped stays in it until then: its windows are claimed, so that nobody takes one
 * of them for mapped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <urcu-bp.h>

#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "rcu_tsan.h"

/* In order of IOVA, with a reference to each. */
struct vfb_demand_table {
	size_t count;
	struct vfb_demand *ranges[];
};

static void free_demand_table(struct vfb_demand_table *table)
{
	for (size_t i = 0; table && i < table->count; i++)
		vfb_demand_unref(table->ranges[i]);
	free(table);
}

void vfb_demands_destroy(struct vfb_demands *demands)
{
	free_demand_table(atomic_load(&demands->table));
	for (size_t i = 0; i < VFB_WINDOW_QUEUES; i++) {
		pthread_mutex_destroy(&demands->queues[i].lock);
		pthread_cond_destroy(&demands->queues[i].changed);
	}
	pthread_mutex_destroy(&demands->lock);
	free(demands->touches);
}

void vfb_demand_read_begin(void)
{
	urcu_bp_read_lock();
}

void vfb_demand_read_end(struct vfb_demands *demands)
{
	VFB_RCU_TSAN(release, &demands->reason);
	urcu_bp_read_unlock();
}

struct vfb_demand *vfb_demand_look_up(struct vfb_demands *demands, uint64_t iova)
{
	const struct vfb_demand_table *table = atomic_load_explicit(&demands->table,
								    memory_order_acquire);
	size_t first = 0, end = table ? table->count : 0;

	while (first < end) {
		size_t middle = first + (end - first) / 2;
		struct vfb_demand *demand = table->ranges[middle];

		if (iova < demand->iova)
			end = middle;
		else if (iova >= vfb_demand_end(demand))
			first = middle + 1;
		else
			return demand;
	}
	return NULL;
}

/* Parts of a range are adjacent in the index. */
static size_t collect_demands_locked(struct vfb_space *space, struct vfb_demand **list)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);
	const struct vfb_demand *before = NULL;
	size_t count = 0;

	for (; mapping; mapping = vfb_index_next(mapping)) {
		struct vfb_demand *demand = mapping->demand;

		if (!demand || demand == before)
			continue;
		before = demand;
		if (list) {
			vfb_demand_ref(demand);
			list[count] = demand;
		}
		count++;
	}
	return count;
}

int vfb_demand_list_locked(struct vfb_space *space, struct vfb_demand ***list, size_t *count)
{
	*count = collect_demands_locked(space, NULL);
	*list = calloc(*count + 1, sizeof(**list));
	if (!*list)
		return vfb_fail_memory();
	collect_demands_locked(space, *list);
	return 0;
}

static struct vfb_demand_table *make_demand_table(struct vfb_space *space)
{
	struct vfb_demand_table *table;
	size_t count;

	pthread_mutex_lock(&space->lock);
	count = collect_demands_locked(space, NULL);
	table = calloc(1, sizeof(*table) + count * sizeof(table->ranges[0]));
	if (table)
		table->count = collect_demands_locked(space, table->ranges);
	pthread_mutex_unlock(&space->lock);
	return table;
}

/* Without memory touches find the range in the index. */
static void list_demand(struct vfb_space *space, struct vfb_demand *demand)
{
	struct vfb_demands *demands = &space->demands;
	struct vfb_demand_table *table = NULL, *old;

	if (atomic_load(&demand->listed))
		return;
	pthread_mutex_lock(&demands->lock);
	if (!atomic_load(&demand->listed))
		table = make_demand_table(space);
	if (table) {
		for (size_t i = 0; i < table->count; i++)
			atomic_store(&table->ranges[i]->listed, true);
		old = atomic_exchange(&demands->table, table);
		urcu_bp_synchronize_rcu();
		VFB_RCU_TSAN(acquire, &demands->reason);
		free_demand_table(old);
	}
	pthread_mutex_unlock(&demands->lock);
}

static int fail_unreachable(uint64_t iova, const struct vfb_mapping *mapping)
{
	return vfb_fail(-ENOENT, "IOVA 0x%" PRIx64 " %s", iova,
			!mapping	   ? "is not mapped: map a range there first" :
			mapping->discarded ? "is discarded: restore it first "
					     "(vfb_memory_restore())" :
					     "is left out of the IOMMU (VFB_RANGE_HOST_ONLY)");
}

static int find_demand_locked(struct vfb_space *space, uint64_t iova, struct vfb_demand **out,
			      uint64_t *end)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, iova);

	if (mapping && mapping->at.iova > iova)
		mapping = NULL;
	if (!mapping || mapping->discarded || vfb_mapping_is_host_only(mapping))
		return fail_unreachable(iova, mapping);
	if (mapping->state != VFB_MAPPING_DONE)
		return vfb_fail(-EBUSY,
				"another job maps, unmaps, discards or restores IOVA 0x%" PRIx64
				": wait for it",
				iova);
	*end = mapping->at.iova + mapping->at.bytes;
	*out = mapping->demand;
	if (*out)
		vfb_demand_ref(*out);
	return 0;
}

int vfb_demand_find(struct vfb_space *space, uint64_t iova, struct vfb_demand **out, uint64_t *end)
{
	int error;

	*out = NULL;
	pthread_mutex_lock(&space->lock);
	error = find_demand_locked(space, iova, out, end);
	pthread_mutex_unlock(&space->lock);
	if (!error && *out)
		list_demand(space, *out);
	return error;
}
