/* SPDX-License-Identifier: MIT */
#ifndef VFB_BAR_H
#define VFB_BAR_H

#include <vfioboost/bar.h>

#include "device/device.h"

#define VFB_BARS 6

/*
 * Takes a BAR that is mapped into the process to map it for the devices of a space: as memory, and
 * what of it there is. It stays mapped while that memory has users, of which the caller is one.
 * -ENOENT, without a text: it is not mapped into the process; -EEXIST, told: it is mapped for
 * devices, or being so.
 */
int vfb_bar_take(struct vfb_device *device, unsigned int index, struct vfb_space *space,
		 struct vfb_memory **memory, const struct vfb_areas **areas);

/* Unmaps it for devices. -ENOENT: it is not mapped. */
int vfb_bar_unmap(struct vfb_device *device, unsigned int index);

/* For a job that maps BARs of the device, whose end closing it waits for. */
void vfb_bar_job_begin(struct vfb_device *device);
void vfb_bar_job_end(struct vfb_device *device);

#endif
