/* SPDX-License-Identifier: MIT */
/* Mappings of a device's regions end with the device, and are restored after its reset. */
#include "dma/space.h"
#include "memory/memory.h"

/*
 * The first mapping of the region from @iova on, once no job works on it; NULL if there is none.
 * Drops the lock while waiting.
 */
static struct vfb_mapping *wait_for_next_locked(struct vfb_space *space,
						const struct vfb_memory *region, uint64_t iova)
{
	const struct vfb_sys *sys = space->ctx->sys;
	struct vfb_mapping *mapping;

	for (;;) {
		mapping = vfb_index_at(&space->index, iova);
		while (mapping && mapping->memory != region)
			mapping = vfb_index_next(mapping);
		if (!mapping || mapping->state == VFB_MAPPING_DONE)
			return mapping;
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	}
}

static void drop_mapping_locked(struct vfb_space *space, struct vfb_mapping *mapping)
{
	vfb_index_remove_extents(&space->index, mapping->at.iova, mapping->at.bytes);
	vfb_space_remove_mapping_locked(space, mapping);
}

void vfb_space_unmap_region(struct vfb_space *space, const struct vfb_memory *region)
{
	struct vfb_mapping *mapping;

	vfb_space_job_begin(space);
	pthread_mutex_lock(&space->lock);
	while ((mapping = wait_for_next_locked(space, region, 0))) {
		vfb_index_set_state(&space->index, mapping, VFB_MAPPING_ENDING, false);
		pthread_mutex_unlock(&space->lock);
		/* Translation must not find it from now on. */
		vfb_translator_publish_nofail(space);
		vfb_space_unmap_area(space, mapping->at.iova, mapping->at.bytes);
		pthread_mutex_lock(&space->lock);
		drop_mapping_locked(space, mapping);
	}
	pthread_mutex_unlock(&space->lock);
	vfb_space_job_end(space);
}

/* The kernel keeps the IOVAs reserved, with nothing behind them: iopt_revoke_notify(). */
static int map_again(struct vfb_space *space, const struct vfb_mapping *mapping)
{
	int error = vfb_space_unmap_area(space, mapping->at.iova, mapping->at.bytes);

	if (error)
		return error;
	return vfb_space_map_one(space, mapping->memory, mapping->offset, mapping->at.bytes,
				 mapping->at.iova, mapping->flags);
}

int vfb_space_remap_region(struct vfb_space *space, const struct vfb_memory *region)
{
	struct vfb_mapping *mapping;
	uint64_t iova = 0;
	int result = 0;

	vfb_space_job_begin(space);
	pthread_mutex_lock(&space->lock);
	while ((mapping = wait_for_next_locked(space, region, iova))) {
		bool lost = !vfb_index_has_extents(&space->index, mapping->at.iova,
						   mapping->at.bytes);
		int error;

		/* Translation finds it meanwhile. */
		vfb_index_set_state(&space->index, mapping, VFB_MAPPING_BEGUN, true);
		pthread_mutex_unlock(&space->lock);
		error = lost ? 0 : map_again(space, mapping);
		pthread_mutex_lock(&space->lock);
		iova = mapping->at.iova + mapping->at.bytes;
		vfb_index_set_state(&space->index, mapping, VFB_MAPPING_DONE, false);
		if (error) {
			drop_mapping_locked(space, mapping);
			result = result ? result : error;
		}
		if (!iova)
			break;
	}
	pthread_mutex_unlock(&space->lock);
	if (result)
		vfb_translator_publish_nofail(space);
	vfb_space_job_end(space);
	return result;
}
