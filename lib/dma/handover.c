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

/* What is joined is one mapping of the kernel: where it ends in the index. */
static size_t chain_end(const struct vfb_index *index, size_t first, uint64_t *bytes)
{
	size_t end = first + 1;

	*bytes = index->mappings[first].bytes;
	for (; index->mappings[end - 1].joined; end++)
		*bytes += index->mappings[end].bytes;
	return end;
}

static int take(struct vfb_space *space, const struct vfb_mapping *mapping, uint64_t bytes)
{
	struct vfb_iommu_map map = {
		.iova = mapping->iova,
		.bytes = bytes,
		.address = mapping->memory->address + mapping->offset,
		.fd = -1,
	};

	return space->iommu->ops->take_address(space->iommu, &map);
}

/* Tells the kernel all addresses up to a place in the index. */
static int take_up_to(struct vfb_space *space, size_t end)
{
	struct vfb_index *index = &space->index;
	uint64_t bytes;
	int error = 0;

	for (size_t i = 0, next; i < end && !error; i = next) {
		next = chain_end(index, i, &bytes);
		if (index->mappings[i].backed)
			error = take(space, &index->mappings[i], bytes);
	}
	return error;
}

static int release_all(struct vfb_space *space)
{
	struct vfb_index *index = &space->index;
	uint64_t bytes;
	int error = 0;

	for (size_t i = 0, next; i < index->count && !error; i = next) {
		next = chain_end(index, i, &bytes);
		if (index->mappings[i].backed)
			error = space->iommu->ops->release_address(space->iommu,
								   index->mappings[i].iova, bytes);
		if (error)
			take_up_to(space, i);
	}
	return error;
}

/* Called with the space's lock held. */
static int check_idle(const struct vfb_space *space)
{
	if (space->jobs || space->opening)
		return vfb_fail(-EBUSY, "jobs work on the space: wait for them");
	if (!space->iommu->ops->release_address && !space->iommu->ops->change_process)
		return vfb_fail(-ENOTSUP, "a space without an IOMMU has nothing to hand over");
	return 0;
}

/* A region of a device is nothing that another process has at hand. */
static int check_regions(const struct vfb_space *space)
{
	for (size_t i = 0; i < space->index.count; i++)
		if (space->index.mappings[i].memory->region)
			return vfb_fail(-EBUSY,
					"a BAR of device %s is mapped at IOVA 0x%" PRIx64
					": it cannot be handed over, unmap it first "
					"(vfb_bars_unmap())",
					space->index.mappings[i].memory->region->device,
					space->index.mappings[i].iova);
	return 0;
}

/* What was mapped by address stays bound to the process that mapped it. */
static int check_files(const struct vfb_space *space)
{
	for (size_t i = 0; i < space->index.count; i++)
		if (space->index.mappings[i].memory->fd < 0)
			return vfb_fail(-EINVAL,
					"what is at IOVA 0x%" PRIx64 " was mapped by address, "
					"iommufd hands over only what was mapped by file: take "
					"memory of VFB_MEMORY_MEMFD, and VFB_MAP_BY_FILE",
					space->index.mappings[i].iova);
	return 0;
}

int vfb_space_release_addresses(struct vfb_space *space)
{
	int error;

	pthread_mutex_lock(&space->lock);
	error = check_idle(space);
	if (!error && space->released)
		error = vfb_fail(-EBUSY, "the addresses were released already");
	if (!error)
		error = check_regions(space);
	if (!error && space->iommu->ops->change_process)
		error = check_files(space);
	if (!error && space->iommu->ops->release_address)
		error = release_all(space);
	if (!error)
		space->released = true;
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Puts what the other process has mapped into the index. Called with the space's lock held. */
static int add_ranges(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vfb_mapping mapping;
		size_t clash;
		int error = vfb_range_check(space, &ranges[i], i);

		if (!error && !vfb_range_has_iova(&ranges[i]))
			error = vfb_fail(-EINVAL, "entry %zu needs the IOVA that it is mapped at",
					 i);
		if (error)
			return error;
		mapping = vfb_range_mapping(&ranges[i]);
		mapping.state = VFB_MAPPING_DONE;
		mapping.backed = true;
		mapping.entries = 1;
		mapping.head = mapping.piece = mapping.bytes;
		error = vfb_index_add(&space->index, &mapping, 1, &clash);
		if (error == -EEXIST)
			return vfb_fail(error, "%s overlaps another one",
					vfb_range_name(&ranges[i], i).text);
		if (error)
			return vfb_fail_memory();
		atomic_fetch_add(&ranges[i].memory->users, 1);
	}
	return 0;
}

static void remove_all(struct vfb_space *space)
{
	for (size_t i = 0; i < space->index.count; i++)
		atomic_fetch_sub(&space->index.mappings[i].memory->users, 1);
	space->index.count = 0;
}

static int take_all(struct vfb_space *space)
{
	const struct vfb_iommu_ops *ops = space->iommu->ops;

	return ops->change_process ? ops->change_process(space->iommu) :
				     take_up_to(space, space->index.count);
}

int vfb_space_adopt_addresses(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	bool own;
	int error;

	pthread_mutex_lock(&space->lock);
	own = space->released;
	error = check_idle(space);
	if (!error && own != !count)
		error = vfb_fail(-EINVAL,
				 own ? "the space takes its own addresses back: give no ranges" :
				       "the ranges that are mapped in the space are needed");
	if (!error && !own && space->index.count)
		error = vfb_fail(-EBUSY, "the library has mapped something in the space already: "
					 "take over first, then map");
	if (!error) {
		error = own ? 0 : add_ranges(space, ranges, count);
		if (!error)
			error = take_all(space);
		if (!error)
			space->released = false;
		else if (!own)
			remove_all(space);
	}
	pthread_mutex_unlock(&space->lock);
	if (!error)
		vfb_translator_publish_surely(space);
	return error;
}
