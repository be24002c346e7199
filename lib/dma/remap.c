/* SPDX-License-Identifier: MIT */
/* What is mapped of a region of a device goes with the device, and comes back after its reset. */
#include "dma/space.h"
#include "memory/memory.h"

/*
 * The first that is mapped of the region from @iova on, when no job works on it any more; NULL:
 * there is none. With the space's lock held, which waiting gives up.
 */
static struct vfb_mapping *wait_for_next(struct vfb_space *space, const struct vfb_memory *region,
					 uint64_t iova)
{
	const struct vfb_sys *sys = space->ctx->sys;
	struct vfb_index *index = &space->index;

	for (;;) {
		size_t i = vfb_index_position(index, iova);

		while (i < index->count && index->mappings[i].memory != region)
			i++;
		if (i == index->count)
			return NULL;
		if (index->mappings[i].state == VFB_MAPPING_DONE)
			return &index->mappings[i];
		sys->cond_wait(sys, &space->changed, &space->lock, UINT64_MAX);
	}
}

/* With the space's lock held. */
static void drop(struct vfb_space *space, uint64_t iova)
{
	struct vfb_mapping *mapping = vfb_index_find(&space->index, iova);

	mapping->state = VFB_MAPPING_GONE;
	atomic_fetch_sub(&mapping->memory->users, 1);
	vfb_index_compact(&space->index);
}

void vfb_space_unmap_region(struct vfb_space *space, const struct vfb_memory *region)
{
	struct vfb_mapping *mapping;

	vfb_space_job_begin(space);
	pthread_mutex_lock(&space->lock);
	while ((mapping = wait_for_next(space, region, 0))) {
		struct vfb_mapping taken = *mapping;

		mapping->state = VFB_MAPPING_ENDING;
		pthread_mutex_unlock(&space->lock);
		/* Nobody is to find what is about to go. */
		vfb_translator_publish_surely(space);
		if (taken.backed)
			vfb_space_unmap_one(space, taken.iova, taken.bytes, taken.entries);
		pthread_mutex_lock(&space->lock);
		drop(space, taken.iova);
	}
	pthread_mutex_unlock(&space->lock);
	vfb_space_job_end(space);
}

/* The IOVAs stay taken in the kernel, though nothing is behind them: iopt_revoke_notify(). */
static int map_again(struct vfb_space *space, const struct vfb_mapping *mapping)
{
	int error = vfb_space_unmap_one(space, mapping->iova, mapping->bytes, mapping->entries);

	if (error)
		return error;
	return vfb_space_map_one(space, mapping->memory, mapping->offset, mapping->bytes,
				 mapping->iova, mapping->flags);
}

int vfb_space_remap_region(struct vfb_space *space, const struct vfb_memory *region)
{
	struct vfb_mapping *mapping;
	uint64_t iova = 0;
	int result = 0;

	vfb_space_job_begin(space);
	pthread_mutex_lock(&space->lock);
	while ((mapping = wait_for_next(space, region, iova))) {
		struct vfb_mapping taken = *mapping;
		int error;

		/* Who translates finds it meanwhile. */
		mapping->state = VFB_MAPPING_BEGUN;
		mapping->visible = true;
		pthread_mutex_unlock(&space->lock);
		error = taken.backed ? map_again(space, &taken) : 0;
		pthread_mutex_lock(&space->lock);
		mapping = vfb_index_find(&space->index, taken.iova);
		mapping->state = VFB_MAPPING_DONE;
		mapping->visible = false;
		if (error) {
			drop(space, taken.iova);
			result = result ? result : error;
		}
		iova = taken.iova + taken.bytes;
		if (!iova)
			break;
	}
	pthread_mutex_unlock(&space->lock);
	if (result)
		vfb_translator_publish_surely(space);
	vfb_space_job_end(space);
	return result;
}
