/* SPDX-License-Identifier: MIT */
#ifndef VFB_LANES_H
#define VFB_LANES_H

#include <stdatomic.h>
#include <stddef.h>

/*
 * One lane for each CPU, so that what every event writes is in no cache line that another CPU
 * writes, too. Larger hosts share lanes, which costs time but is right: a thread may move to
 * another CPU at any time, so that all access is atomic or under the lock of the lane.
 */
#define VFB_LANES	 512
#define VFB_CACHE_LINE	 64
#define VFB_LANE_OF(cpu) ((unsigned int)(cpu) % VFB_LANES)

struct vfb_counter_lane {
	_Alignas(VFB_CACHE_LINE) atomic_uint_fast64_t count;
};

/* Memory at 0, which shares no cache line with any other, or NULL; to be freed with free(). */
void *vfb_lines_create(size_t bytes);

/* VFB_LANES counters at 0, or NULL; to be freed with free(). */
struct vfb_counter_lane *vfb_lanes_create(void);

#endif
