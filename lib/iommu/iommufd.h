/* SPDX-License-Identifier: MIT */
/*
 * iommufd: one file descriptor with one I/O address space (IOAS) in it. Devices are opened by
 * their node, bound, and attached to the IOAS; the first one brings an automatic domain, which
 * goes with the last. A device without a node that can be opened is opened by its group, whose
 * container the iommufd is then: the kernel binds and attaches it in one go. Without a domain,
 * IOMMU_IOAS_MAP pins nothing, and the next device to be attached has to wait for all of it. A
 * domain that is to stay is made for the first device (IOMMU_HWPT_ALLOC), and devices are attached
 * to that.
 */
#ifndef VFB_IOMMUFD_H
#define VFB_IOMMUFD_H

#include "container_of.h"
#include "iommu/group.h"
#include "sys/sleep_lock.h"

#define MAX_DOMAINS 16

struct iommufd {
	struct vfb_iommu iommu;
	int fd;
	uint32_t ioas;
	enum vfb_map_by map_by;
	bool keep_domain;
	/* Of devices that have no node. */
	struct vfb_groups groups;
	/* Domains that stay: one is enough for most devices. The lock is held while a device is
	 * attached, so that devices that open in parallel share a domain. */
	struct vfb_sleep_lock domains_lock;
	uint32_t domains[MAX_DOMAINS];
	size_t domain_count;
};

/* Of struct vfb_iommu_ops. */
int vfb_iommufd_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
void vfb_iommufd_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
int vfb_iommufd_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			    const char **call);
int vfb_iommufd_group_fd(struct vfb_iommu *iommu, int group);

#endif
