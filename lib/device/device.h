/* SPDX-License-Identifier: MIT */
#ifndef VFB_DEVICE_H
#define VFB_DEVICE_H

#include <vfioboost/device.h>

#include "device/pci.h"
#include "dma/space.h"

/* A region that is mapped into the process. */
struct vfb_region_mapping {
	void *address;
	size_t bytes;
};

struct vfb_device {
	struct vfb_space *space;
	struct vfb_pci pci;
	int fd;
	unsigned int regions, irqs;
	/* One for each region; address NULL where it is not mapped. The lock guards them. */
	pthread_mutex_t lock;
	struct vfb_region_mapping *mappings;
};

/* What the space's backend must know of the device. */
static inline struct vfb_iommu_device vfb_device_identity(const struct vfb_pci *pci)
{
	return (struct vfb_iommu_device){pci->address, pci->group, pci->node};
}

/* Opens a device whose group is attached, with its event. */
int vfb_device_open_one(struct vfb_space *space, const struct vfb_pci *pci,
			struct vfb_device **out);

/* Unmaps its regions, closes it, with its event, and frees it. It stays attached. */
void vfb_device_close_one(struct vfb_device *device);

/*
 * Devices that must not be reset at the same time: below one bridge, or functions of one device
 * on the root bus. True when the two belong together.
 */
bool vfb_device_share_reset(const struct vfb_pci *a, const struct vfb_pci *b);

#endif
