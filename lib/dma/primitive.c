/* SPDX-License-Identifier: MIT */
/* The building blocks: one call to the kernel, and one change of the index. */
#include <errno.h>
#include <stdlib.h>

#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"

void vfb_space_job_begin(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->jobs++;
	pthread_mutex_unlock(&space->lock);
}

static void end_job_locked(struct vfb_space *space)
{
	const struct vfb_sys *sys = space->ctx->sys;

	space->jobs--;
	sys->cond_broadcast(sys, &space->changed);
}

void vfb_space_job_end(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	end_job_locked(space);
	pthread_mutex_unlock(&space->lock);
}

void vfb_space_job_end_unlock(struct vfb_space *space, bool changed)
{
	bool publish = changed && atomic_load(&space->translator.is_used);

	if (!publish)
		end_job_locked(space);
	pthread_mutex_unlock(&space->lock);
	if (!publish)
		return;
	vfb_translator_publish_nofail(space);
	vfb_space_job_end(space);
}

bool vfb_space_job_try_begin(struct vfb_space *space)
{
	bool ending;

	pthread_mutex_lock(&space->lock);
	ending = space->ending;
	space->jobs += !ending;
	pthread_mutex_unlock(&space->lock);
	return !ending;
}

/* 0: no blocks. Smaller ones than pages would gain nothing, since pages are returned as a whole. */
static uint64_t block_of(const struct vfb_space *space, const struct vfb_memory *memory)
{
	uint64_t page = memory->bulk_bytes ? GIB : memory->page_bytes;

	if (!space->block_bytes || memory->region)
		return 0;
	return page > space->block_bytes ? page : space->block_bytes;
}

uint64_t vfb_space_block_end(const struct vfb_space *space, const struct vfb_memory *memory,
			     uint64_t offset, uint64_t end)
{
	uint64_t block = block_of(space, memory), next;

	if (!block)
		return end;
	next = (offset / block + 1) * block;
	return next < end ? next : end;
}

uint64_t vfb_space_count_blocks(const struct vfb_space *space, const struct vfb_memory *memory,
				uint64_t offset, uint64_t bytes)
{
	uint64_t block = block_of(space, memory);

	return block ? (offset + bytes - 1) / block - offset / block + 1 : 1;
}

/* Where the kernel pins by a call of its own, which takes longest. */
static int register_memory(struct vfb_space *space, const struct vfb_memory *memory,
			   const struct vfb_iommu_map *map)
{
	const struct vfb_iommu_ops *ops = space->iommu->ops;
	struct vfb_span span;
	int error;

	if (!ops->register_memory)
		return 0;
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_REGISTER);
	error = ops->register_memory(space->iommu, map);
	vfb_observe_end(&span, .operation = ops->register_call, .result = error,
			.address = (uintptr_t)map->address, .bytes = map->bytes, .iova = map->iova,
			.page_bytes = memory->page_bytes, .node = VFB_ANY_NODE);
	return error;
}

int vfb_space_map_one(struct vfb_space *space, const struct vfb_memory *memory, uint64_t offset,
		      uint64_t bytes, uint64_t iova, uint32_t flags)
{
	struct vfb_interval *extent = malloc(sizeof(*extent));
	struct vfb_iommu_map map = {
		.iova = iova,
		.bytes = bytes,
		.address = memory->address + offset,
		.flags = flags & (VFB_RANGE_READ | VFB_RANGE_WRITE),
		.fd = memory->fd,
		.file_offset = memory->fd_offset + offset,
		.no_file = memory->adopted ? memory->fallback : NULL,
		.region = memory->region,
		.call = space->iommu->ops->map_call,
	};
	struct vfb_span span;
	int error;

	if (!extent)
		return vfb_fail_memory();
	if (!map.flags)
		map.flags = VFB_RANGE_READ | VFB_RANGE_WRITE;
	error = register_memory(space, memory, &map);
	if (error) {
		free(extent);
		return error;
	}
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_MAP);
	error = space->iommu->ops->map(space->iommu, &map);
	vfb_observe_end(&span, .operation = map.call, .result = error,
			.address = (uintptr_t)map.address, .bytes = bytes, .iova = iova,
			.page_bytes = memory->page_bytes,
			.device = memory->region ? memory->region->device : NULL,
			.node = VFB_ANY_NODE);
	if (error) {
		free(extent);
		return error;
	}
	*extent = (struct vfb_interval){.iova = iova, .bytes = bytes};
	pthread_mutex_lock(&space->lock);
	vfb_index_add_extent(&space->index, extent);
	if (space->entries_left != UINT64_MAX)
		space->entries_left--;
	pthread_mutex_unlock(&space->lock);
	return 0;
}

int vfb_space_unmap_one(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	struct vfb_span span;
	size_t extents;
	int error;

	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_UNMAP);
	error = space->iommu->ops->unmap(space->iommu, iova, bytes);
	vfb_observe_end(&span, .operation = space->iommu->ops->unmap_call, .result = error,
			.bytes = bytes, .iova = iova, .node = VFB_ANY_NODE);
	/* An earlier call that failed half-way may have unmapped it. */
	if (error && error != -ENOENT)
		return error;
	pthread_mutex_lock(&space->lock);
	extents = vfb_index_remove_extents(&space->index, iova, bytes);
	if (space->entries_left != UINT64_MAX)
		space->entries_left += extents;
	pthread_mutex_unlock(&space->lock);
	return 0;
}

/* Finds adjacent extents in an area. False if there are none. */
static bool find_extents(struct vfb_space *space, uint64_t iova, uint64_t last,
			 struct vfb_interval *found)
{
	struct vfb_interval *extent;

	pthread_mutex_lock(&space->lock);
	extent = vfb_interval_at(&space->index.extents, iova);
	if (extent && extent->iova > last)
		extent = NULL;
	if (extent)
		*found = *extent;
	while (extent && (extent = vfb_interval_next(extent)) && extent->iova <= last &&
	       extent->iova == found->iova + found->bytes)
		found->bytes += extent->bytes;
	pthread_mutex_unlock(&space->lock);
	return found->bytes;
}

int vfb_space_unmap_area(struct vfb_space *space, uint64_t iova, uint64_t bytes)
{
	struct vfb_interval found = {0};
	int error = 0;

	while (!error && find_extents(space, iova, iova + (bytes - 1), &found)) {
		error = vfb_space_unmap_one(space, found.iova, found.bytes);
		found.bytes = 0;
	}
	return error;
}

void vfb_space_remove_mapping_locked(struct vfb_space *space, struct vfb_mapping *mapping)
{
	atomic_fetch_sub(&mapping->memory->users, 1);
	vfb_index_remove(&space->index, mapping);
}

void vfb_space_forget_locked(struct vfb_space *space)
{
	struct vfb_mapping *mapping;

	while ((mapping = vfb_index_at(&space->index, 0)))
		vfb_space_remove_mapping_locked(space, mapping);
	vfb_index_free(&space->index);
}
