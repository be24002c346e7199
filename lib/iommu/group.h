/* SPDX-License-Identifier: MIT */
/* The groups through which devices of a space are opened: /dev/vfio/N. */
#ifndef VFB_GROUP_H
#define VFB_GROUP_H

#include <pthread.h>

#include "iommu/iommu.h"

struct vfb_group;

/* Changed only by hold and release, which never run in parallel. */
struct vfb_groups {
	pthread_mutex_t lock;
	struct vfb_group *first;
};

void vfb_groups_init(struct vfb_groups *groups);
/* All groups must have been released. */
void vfb_groups_destroy(struct vfb_groups *groups);

/*
 * Opens the group of a device and attaches it with @attach, unless another device already holds the
 * group.
 */
int vfb_groups_hold(struct vfb_groups *groups, struct vfb_iommu *iommu,
		    const struct vfb_iommu_device *device,
		    int (*attach)(struct vfb_iommu *iommu, int fd,
				  const struct vfb_iommu_device *device));
/* Releases the hold of a device. The last one closes the group, which detaches it. */
void vfb_groups_release(struct vfb_groups *groups, const struct vfb_sys *sys, int number);

/* Releases the hold of a device, but keeps the group. Returns whether no device holds any group. */
bool vfb_groups_leave(struct vfb_groups *groups, int number);
/* Closes all groups that were kept. */
void vfb_groups_close(struct vfb_groups *groups, const struct vfb_sys *sys);

/* The file of a group, -1 if no device holds it. */
int vfb_groups_fd(struct vfb_groups *groups, int number);

/* Fails unless an open group is viable and can be attached. */
int vfb_group_check_viable(const struct vfb_sys *sys, int fd,
			   const struct vfb_iommu_device *device);

/* Fails with -EADDRINUSE: something is mapped at the reserved regions of a device. */
int vfb_group_reserves_iovas(const struct vfb_iommu_device *device);

#endif
