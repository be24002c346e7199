/* SPDX-License-Identifier: MIT */
#ifndef VFB_MAP_H
#define VFB_MAP_H

#include "dma/space.h"

/*
 * Maps ranges in the calling thread, without a job and without waiting: all of them, or none.
 * Without a domain they are kept for the first device.
 */
int vfb_map_here(struct vfb_space *space, struct vfb_range *ranges, size_t count);

#endif
