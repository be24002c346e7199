/* SPDX-License-Identifier: MIT */
/*
 * Handing a space over to another process, with all that is pinned: type1 forgets the addresses
 * and is told new ones (VFIO_DMA_UNMAP_FLAG_VADDR, VFIO_DMA_MAP_FLAG_VADDR); what iommufd has
 * mapped by file has no address, only who is charged changes (IOMMU_IOAS_CHANGE_PROCESS).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/range.h"
#include "memory/memory.h"
#include "observe/error.h"

/* Makes this process the one that an extent's memory belongs to. */
static int take_extent_locked(struct vfb_space *space, const struct vfb_interval *extent)
{
	const struct vfb_mapping *mapping = vfb_index_find(&space->index, extent->iova);
	struct vfb_iommu_map map = {
		.iova = extent->iova,
		.bytes = extent->bytes,
		.address = mapping->memory->address + mapping->offset,
		.fd = -1,
	};

	return space->iommu->ops->take_address(space->iommu, &map);
}

/* All extents before @end; NULL: all there are. */
static int take_extents_locked(struct vfb_space *space, const struct vfb_interval *end)
{
	struct vfb_interval *extent = vfb_interval_at(&space->index.extents, 0);
	int error = 0;

	for (; extent != end && !error; extent = vfb_interval_next(extent))
		error = take_extent_locked(space, extent);
	return error;
}

/* All of them, or none. */
static int release_extents_locked(struct vfb_space *space)
{
	struct vfb_interval *extent = vfb_interval_at(&space->index.extents, 0);

	for (; extent; extent = vfb_interval_next(extent)) {
		int error = space->iommu->ops->release_address(space->iommu, extent->iova,
							       extent->bytes);

		if (error) {
			take_extents_locked(space, extent);
			return error;
		}
	}
	return 0;
}

static int check_idle_locked(const struct vfb_space *space)
{
	if (space->jobs || space->opening)
		return vfb_fail(-EBUSY, "jobs work on the space: wait for them");
	if (!space->iommu->ops->release_address && !space->iommu->ops->change_process)
		return vfb_fail(-ENOTSUP, "a space without an IOMMU has nothing to hand over");
	return 0;
}

/* A region of a device is nothing that another process has at hand. */
static int check_regions_locked(const struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	for (; mapping; mapping = vfb_index_next(mapping))
		if (mapping->memory->region)
			return vfb_fail(-EBUSY,
					"a BAR of device %s is mapped at IOVA 0x%" PRIx64
					": it cannot be handed over, unmap it first "
					"(vfb_bars_unmap())",
					mapping->memory->region->device, mapping->at.iova);
	return 0;
}

/* What was mapped by address stays bound to the process that mapped it. */
static int check_files_locked(const struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	for (; mapping; mapping = vfb_index_next(mapping))
		if (mapping->memory->fd < 0)
			return vfb_fail(-EINVAL,
					"what is at IOVA 0x%" PRIx64 " was mapped by address, "
					"iommufd hands over only what was mapped by file: take "
					"memory of VFB_MEMORY_MEMFD, and VFB_MAP_BY_FILE",
					mapping->at.iova);
	return 0;
}

int vfb_space_release_addresses(struct vfb_space *space)
{
	int error;

	pthread_mutex_lock(&space->lock);
	error = check_idle_locked(space);
	if (!error && space->released)
		error = vfb_fail(-EBUSY, "the addresses were released already");
	if (!error)
		error = check_regions_locked(space);
	if (!error && space->iommu->ops->change_process)
		error = check_files_locked(space);
	if (!error && space->iommu->ops->release_address)
		error = release_extents_locked(space);
	if (!error)
		space->released = true;
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* What the other process has mapped at a range. */
static int add_range_locked(struct vfb_space *space, const struct vfb_range *range, size_t entry)
{
	struct vfb_mapping *mapping = vfb_range_mapping(range);
	struct vfb_interval *extent = malloc(sizeof(*extent));

	if (!mapping || !extent) {
		free(mapping);
		free(extent);
		return vfb_fail_memory();
	}
	if (vfb_index_add(&space->index, mapping)) {
		free(mapping);
		free(extent);
		return vfb_fail(-EEXIST, "%s overlaps another one",
				vfb_range_name(range, entry).text);
	}
	mapping->state = VFB_MAPPING_DONE;
	*extent = (struct vfb_interval){.iova = range->iova, .bytes = range->bytes};
	vfb_index_add_extent(&space->index, extent);
	atomic_fetch_add(&range->memory->users, 1);
	return 0;
}

static int add_ranges_locked(struct vfb_space *space, const struct vfb_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int error = vfb_range_check(space, &ranges[i], i);

		if (!error && !vfb_range_has_iova(&ranges[i]))
			error = vfb_fail(-EINVAL, "entry %zu needs the IOVA that it is mapped at",
					 i);
		if (!error)
			error = add_range_locked(space, &ranges[i], i);
		if (error)
			return error;
	}
	return 0;
}

static int take_all_locked(struct vfb_space *space)
{
	const struct vfb_iommu_ops *ops = space->iommu->ops;

	return ops->change_process ? ops->change_process(space->iommu) :
				     take_extents_locked(space, NULL);
}

int vfb_space_adopt_addresses(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	bool own;
	int error;

	pthread_mutex_lock(&space->lock);
	own = space->released;
	error = check_idle_locked(space);
	if (!error && own != !count)
		error = vfb_fail(-EINVAL,
				 own ? "the space takes its own addresses back: give no ranges" :
				       "the ranges that are mapped in the space are needed");
	if (!error && !own && space->index.count)
		error = vfb_fail(-EBUSY, "the library has mapped something in the space already: "
					 "take over first, then map");
	if (!error) {
		error = own ? 0 : add_ranges_locked(space, ranges, count);
		if (!error)
			error = take_all_locked(space);
		if (!error)
			space->released = false;
		else if (!own)
			vfb_space_forget_locked(space);
	}
	pthread_mutex_unlock(&space->lock);
	if (!error)
		vfb_translator_publish_surely(space);
	return error;
}
