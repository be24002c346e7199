/* SPDX-License-Identifier: MIT */
#include "observe/lanes.h"

#include <stdlib.h>
#include <string.h>

void *vfb_lines_create(size_t bytes)
{
	void *lines;

	bytes = (bytes + VFB_CACHE_LINE - 1) & -(size_t)VFB_CACHE_LINE;
	lines = aligned_alloc(VFB_CACHE_LINE, bytes);
	if (lines)
		memset(lines, 0, bytes);
	return lines;
}

struct vfb_counter_lane *vfb_lanes_create(void)
{
	return vfb_lines_create(VFB_LANES * sizeof(struct vfb_counter_lane));
}
