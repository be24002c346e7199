/* SPDX-License-Identifier: MIT */
/* The groups by which devices of a space are opened: /dev/vfio/N. */
#ifndef VFB_GROUP_H
#define VFB_GROUP_H

#include <pthread.h>

#include "iommu/iommu.h"

struct vfb_group;

/* Changed by hold and release only, which never run at the same time. */
struct vfb_groups {
	pthread_mutex_t lock;
	struct vfb_group *first;
};

void vfb_groups_init(struct vfb_groups *groups);
/* All have been released. */
void vfb_groups_destroy(struct vfb_groups *groups);

/*
 * Opens the group of a device, unless another device of it holds it, and has it attached: by
 * @attach, which is given its file. Failures are told.
 */
int vfb_groups_hold(struct vfb_groups *groups, struct vfb_iommu *iommu,
		    const struct vfb_iommu_device *device,
		    int (*attach)(struct vfb_iommu *iommu, int fd,
				  const struct vfb_iommu_device *device));
/* With the last device that holds it the group is closed, which detaches it. */
void vfb_groups_release(struct vfb_groups *groups, const struct vfb_sys *sys, int number);

/* The file of a group, -1 when no device holds it. */
int vfb_groups_fd(struct vfb_groups *groups, int number);

/* Fails unless a group that was opened can be attached. */
int vfb_group_check_viable(const struct vfb_sys *sys, int fd,
			   const struct vfb_iommu_device *device);

/* The text for a device whose reserved regions are mapped. -EADDRINUSE. */
int vfb_group_reserves_iovas(const struct vfb_iommu_device *device);

#endif
