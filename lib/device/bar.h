/* SPDX-License-Identifier: MIT */
#ifndef VFB_BAR_H
#define VFB_BAR_H

#include <vfioboost/bar.h>

#include "device/device.h"
#include "memory/memory.h"

#define VFB_BARS 6

/* A BAR that the process has mapped, as what can be mapped for devices. */
struct vfb_bar_memory {
	struct vfb_memory memory;
	struct vfb_iommu_region region;
	/* Threads that use it without the device's lock. The last of them frees it once the process
	 * has unmapped the BAR. */
	unsigned int holders;
	bool is_orphan;
};

/* The process has unmapped the BAR. NULL is allowed. With the device's lock held. */
void vfb_bar_disown_locked(struct vfb_bar_memory *memory);

/*
 * Takes a BAR that is mapped into the process to map it for the devices of a space: as memory, and
 * what of it there is. It stays mapped while that memory has users, of which the caller is one.
 * Fails with -ENOENT, without an error text, if it is not mapped into the process; with -EEXIST if
 * it is mapped for devices, or being mapped.
 */
int vfb_bar_take(struct vfb_device *device, unsigned int index, struct vfb_space *space,
		 struct vfb_memory **memory, const struct vfb_areas **areas);

/* Unmaps it for devices. -ENOENT: it is not mapped. */
int vfb_bar_unmap(struct vfb_device *device, unsigned int index);

/* For a job that maps BARs of the device, whose end closing it waits for. */
void vfb_bar_job_begin(struct vfb_device *device);
void vfb_bar_job_end(struct vfb_device *device);

#endif
