/* SPDX-License-Identifier: MIT */
/*
 * Handing a space over to another process while its memory stays pinned. type1 forgets the
 * addresses and gets new ones (VFIO_DMA_UNMAP_FLAG_VADDR, VFIO_DMA_MAP_FLAG_VADDR). iommufd's
 * mappings by file have no address: only the process that is charged for them changes
 * (IOMMU_IOAS_CHANGE_PROCESS).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/calls.h"
#include "dma/range.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

/* Lists all extents, with the memory of this process. */
static int list_extents_locked(struct vfb_space *space, struct vfb_calls *calls)
{
	struct vfb_interval *extent = vfb_interval_at(&space->index.extents, 0);
	int error = 0;

	for (; extent && !error; extent = vfb_interval_next(extent)) {
		const struct vfb_mapping *mapping = vfb_index_at(&space->index, extent->iova);

		error = vfb_calls_add(calls, &(struct vfb_call){
						     .iova = extent->iova,
						     .bytes = extent->bytes,
						     .memory = mapping->memory,
						     .offset = mapping->offset +
							       (extent->iova - mapping->at.iova),
					     });
	}
	return error;
}

/* Makes this process the owner of the memory of the first @count extents. */
static int take_addresses(struct vfb_space *space, const struct vfb_calls *calls, size_t count)
{
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		const struct vfb_call *call = &calls->calls[i];
		struct vfb_iommu_map map = {
			.iova = call->iova,
			.bytes = call->bytes,
			.address = call->memory->address + call->offset,
			.fd = -1,
		};

		error = space->iommu->ops->take_address(space->iommu, &map);
	}
	return error;
}

/* All of them, or none. */
static int release_addresses(struct vfb_space *space, const struct vfb_calls *calls)
{
	for (size_t i = 0; i < calls->count; i++) {
		const struct vfb_call *call = &calls->calls[i];
		int error = space->iommu->ops->release_address(space->iommu, call->iova,
							       call->bytes);

		if (error) {
			take_addresses(space, calls, i);
			return error;
		}
	}
	return 0;
}

/*
 * The system calls of a handover are made without the lock. Meanwhile it counts as a job, so that
 * the space stays, and the addresses count as released, so that nobody maps or unmaps.
 */
static void handover_begin_locked(struct vfb_space *space)
{
	space->jobs++;
	space->released = true;
}

static void handover_end(struct vfb_space *space, bool released)
{
	pthread_mutex_lock(&space->lock);
	space->released = released;
	pthread_mutex_unlock(&space->lock);
	vfb_space_job_end(space);
}

static int check_idle_locked(const struct vfb_space *space)
{
	if (space->jobs || space->opening)
		return vfb_fail(-EBUSY, "jobs work on the space: wait for them");
	if (!space->iommu->ops->release_address && !space->iommu->ops->change_process)
		return vfb_fail(-ENOTSUP,
				space->iommu->ops->backend == VFB_BACKEND_SPAPR ?
					"spapr cannot hand over what is mapped to another process" :
					"the space has no IOMMU, so there is nothing to hand over");
	return 0;
}

/* Another process does not have the region of the device mapped, nor does it know which windows
 * are. */
static int check_regions_locked(const struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	for (; mapping; mapping = vfb_index_next(mapping)) {
		if (mapping->demand)
			return vfb_fail(-EBUSY,
					"the range at IOVA 0x%" PRIx64
					" is mapped on demand (VFB_RANGE_ON_DEMAND): it cannot be "
					"handed over, unmap it first",
					mapping->at.iova);
		if (mapping->memory->region)
			return vfb_fail(-EBUSY,
					"a BAR of device %s is mapped at IOVA 0x%" PRIx64
					": it cannot be handed over, unmap it first "
					"(vfb_bars_unmap())",
					mapping->memory->region->device, mapping->at.iova);
	}
	return 0;
}

/* A mapping by address stays bound to the process that made it. */
static int check_files_locked(const struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	for (; mapping; mapping = vfb_index_next(mapping))
		if (mapping->memory->fd < 0 && !vfb_mapping_is_host_only(mapping))
			return vfb_fail(-EINVAL,
					"the range at IOVA 0x%" PRIx64
					" was mapped by address, but "
					"iommufd hands over only mappings by file: use "
					"VFB_MEMORY_MEMFD and VFB_MAP_BY_FILE",
					mapping->at.iova);
	return 0;
}

static int release_begin(struct vfb_space *space, struct vfb_calls *calls)
{
	int error = vfb_observer_check_process(&space->ctx->observer);

	if (error)
		return error;
	pthread_mutex_lock(&space->lock);
	error = check_idle_locked(space);
	if (!error && space->released)
		error = vfb_fail(-EBUSY, "the addresses were already released");
	if (!error)
		error = check_regions_locked(space);
	if (!error && space->iommu->ops->change_process)
		error = check_files_locked(space);
	if (!error && space->iommu->ops->release_address)
		error = list_extents_locked(space, calls);
	if (!error)
		handover_begin_locked(space);
	pthread_mutex_unlock(&space->lock);
	return error;
}

int vfb_space_release_addresses(struct vfb_space *space)
{
	struct vfb_calls calls = {.space = space};
	int error = release_begin(space, &calls);

	if (!error) {
		/* Nobody could take over what a kernel without this call releases. */
		if (space->iommu->ops->change_process)
			error = space->iommu->ops->change_process(space->iommu);
		if (!error)
			error = release_addresses(space, &calls);
		handover_end(space, !error);
	}
	vfb_calls_free(&calls);
	return error;
}

/* The other process has mapped it in the blocks of this space. */
static int add_extents_locked(struct vfb_space *space, const struct vfb_range *range)
{
	uint64_t end = range->offset + range->bytes, next;

	for (uint64_t at = range->offset; at < end; at = next) {
		struct vfb_interval *extent = malloc(sizeof(*extent));

		if (!extent)
			return vfb_fail_memory();
		next = vfb_space_block_end(space, range->memory, at, end);
		*extent = (struct vfb_interval){.iova = range->iova + (at - range->offset),
						.bytes = next - at};
		vfb_index_add_extent(&space->index, extent);
	}
	return 0;
}

/* Adds a range that the other process has mapped. */
static int add_range_locked(struct vfb_space *space, const struct vfb_range *range, size_t entry)
{
	struct vfb_mapping *mapping = vfb_range_mapping(space, range);

	if (!mapping)
		return vfb_fail_memory();
	if (vfb_index_add(&space->index, mapping)) {
		vfb_mapping_free(mapping);
		return vfb_fail(-EEXIST, "%s overlaps another one",
				vfb_range_name(range, entry).text);
	}
	vfb_index_set_state(&space->index, mapping, VFB_MAPPING_DONE, false);
	atomic_fetch_add(&range->memory->users, 1);
	return range->flags & VFB_RANGE_HOST_ONLY ? 0 : add_extents_locked(space, range);
}

static int add_ranges_locked(struct vfb_space *space, const struct vfb_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int error = vfb_range_check(space, &ranges[i], i);

		if (!error && !vfb_range_has_iova(&ranges[i]))
			error = vfb_fail(-EINVAL, "entry %zu needs the IOVA at which it is mapped",
					 i);
		if (!error && vfb_range_is_on_demand(space, &ranges[i]))
			error = vfb_fail(-EINVAL,
					 "entry %zu was mapped as a whole: pass it without "
					 "VFB_RANGE_ON_DEMAND",
					 i);
		if (!error)
			error = add_range_locked(space, &ranges[i], i);
		if (error)
			return error;
	}
	return 0;
}

/* @own: the space takes back what it has released itself. */
static int adopt_begin(struct vfb_space *space, const struct vfb_range *ranges, size_t count,
		       struct vfb_calls *calls, bool *own)
{
	int error = vfb_observer_check_process(&space->ctx->observer);

	if (!error)
		error = vfb_entries_check(ranges, count, "ranges");
	if (error)
		return error;
	pthread_mutex_lock(&space->lock);
	*own = space->released;
	error = check_idle_locked(space);
	if (!error && *own != !count)
		error = vfb_fail(-EINVAL,
				 *own ? "the space takes its own addresses back: pass no ranges" :
					"pass the ranges that are mapped in the space");
	if (!error && !*own && space->index.count)
		error = vfb_fail(-EBUSY, "the library has already mapped something in the space: "
					 "take over first, then map");
	if (!error) {
		error = *own ? 0 : add_ranges_locked(space, ranges, count);
		if (!error)
			error = list_extents_locked(space, calls);
		if (!error)
			handover_begin_locked(space);
		else if (!*own)
			vfb_space_forget_locked(space);
	}
	pthread_mutex_unlock(&space->lock);
	return error;
}

static void forget_ranges(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	vfb_space_forget_locked(space);
	pthread_mutex_unlock(&space->lock);
}

int vfb_space_adopt_addresses(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	const struct vfb_iommu_ops *ops = space->iommu->ops;
	struct vfb_calls calls = {.space = space};
	bool own;
	int error = adopt_begin(space, ranges, count, &calls, &own);

	if (!error) {
		error = ops->change_process ? ops->change_process(space->iommu) :
					      take_addresses(space, &calls, calls.count);
		if (error && !own)
			forget_ranges(space);
		handover_end(space, error && own);
	}
	vfb_calls_free(&calls);
	if (!error)
		vfb_translator_publish_nofail(space);
	return error;
}
