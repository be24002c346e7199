/* SPDX-License-Identifier: MIT */
/* Why the kernel does not let a device be opened: errors with several causes, distinguished by what
 * sysfs and proc show. */
#ifndef VFB_CAUSE_H
#define VFB_CAUSE_H

#include "iommu/iommu.h"

/* A call that failed to attach a device or its group, or to bind it to an iommufd. */
struct vfb_attempt {
	const char *call;
	/* Whose parameter allow_unsafe_interrupts decides. */
	const char *module;
	/* This process has the group or the device open, so nobody else can. */
	bool is_open;
};

/*
 * Reports why it failed. Returns @error, or -EPERM if the firmware is the cause, -EBUSY if another
 * user of the device is.
 */
int vfb_attach_failed(const struct vfb_sys *sys, int error, const struct vfb_iommu_device *device,
		      const struct vfb_attempt *attempt);

/* Whether the firmware keeps the device from being used; reports it if so, and returns -EPERM. */
int vfb_firmware_check(const struct vfb_sys *sys, const char *address, int group);

/* Reports -EBUSY: another process, or this one, has the device or its group open. */
int vfb_device_in_use(const struct vfb_sys *sys, const struct vfb_iommu_device *device);

/* Reports -EPERM: a device of the group belongs to a driver of the host, or to somebody else. */
int vfb_group_not_viable(const struct vfb_sys *sys, const struct vfb_iommu_device *device);

#endif
