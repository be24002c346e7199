/* SPDX-License-Identifier: MIT */
#include "dma/expected.h"

#include <stdlib.h>

void vfb_space_expect(struct vfb_space *space, struct vfb_iova_set *set)
{
	struct vfb_iova_set before;

	pthread_mutex_lock(&space->lock);
	before = space->expected;
	space->expected = set ? *set : (struct vfb_iova_set){0};
	space->expects = set;
	pthread_mutex_unlock(&space->lock);
	if (set)
		*set = (struct vfb_iova_set){0};
	vfb_iova_set_free(&before);
}

const struct vfb_iova_range *vfb_space_valid_locked(const struct vfb_space *space, size_t *count)
{
	*count = space->domain ? space->range_count : space->expected.count;
	if (space->domain)
		return space->ranges;
	return space->expects ? space->expected.ranges : NULL;
}

static int restrict_locked(struct vfb_space *space, struct vfb_iova_set *set)
{
	const struct vfb_iova_range *valid;
	struct vfb_mapping *mapping;
	size_t count;
	int error = 0;

	valid = vfb_space_valid_locked(space, &count);
	if (valid)
		error = vfb_iova_set_restrict(set, valid, count);
	for (mapping = vfb_index_at(&space->index, 0); mapping && !error;
	     mapping = vfb_index_next(mapping))
		error = vfb_iova_set_exclude(set, mapping->at.iova,
					     mapping->at.iova + (mapping->at.bytes - 1));
	return error;
}

int vfb_space_restrict_iovas(struct vfb_space *space, struct vfb_iova_set *set)
{
	int error;

	pthread_mutex_lock(&space->lock);
	error = restrict_locked(space, set);
	pthread_mutex_unlock(&space->lock);
	return error;
}
