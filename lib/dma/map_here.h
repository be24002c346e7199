/* SPDX-License-Identifier: MIT */
#ifndef VFB_MAP_HERE_H
#define VFB_MAP_HERE_H

#include "dma/space.h"

/* Whether one thread maps these ranges as fast as several would, and there is a domain. */
bool vfb_map_fits_here(struct vfb_space *space, const struct vfb_range *ranges, size_t count);

/*
 * Maps ranges in the calling thread, without a job and without waiting: all of them, or none.
 * Without a domain they are kept for the first device.
 */
int vfb_map_here(struct vfb_space *space, struct vfb_range *ranges, size_t count);

#endif
