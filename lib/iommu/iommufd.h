/* SPDX-License-Identifier: MIT */
/*
 * iommufd: one file descriptor with one I/O address space (IOAS). Devices are opened by their
 * nodes, bound, and attached to the IOAS. The first one creates an automatic domain, which the last
 * one destroys. A device whose node cannot be opened is opened through its group, with the iommufd
 * as the container: the kernel then binds and attaches it. Without a domain IOMMU_IOAS_MAP pins
 * nothing, and attaching the next device would have to pin everything. A domain that outlives its
 * devices is created for the first device (IOMMU_HWPT_ALLOC), and devices are attached to it.
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
	/* Domains can track what devices write to; 0 or one of the caller's, which is tracked as
	 * well; and whether they do, guarded by @domains_lock. */
	bool dirty;
	uint32_t dirty_domain;
	bool is_tracking;
	/* Domains have a queue of faults; its ID, 0: it is the caller's. */
	bool faults;
	uint32_t fault_id;
	/* Groups of devices without a node. */
	struct vfb_groups groups;
	/* Domains that stay: one is enough for most devices. The lock is held while a device is
	 * attached, so that devices that open in parallel share a domain. */
	struct vfb_sleep_lock domains_lock;
	uint32_t domains[MAX_DOMAINS];
	/* Readers need no lock: domains are only added. */
	atomic_size_t domain_count;
};

/* Operations of struct vfb_iommu_ops. */
int vfb_iommufd_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
void vfb_iommufd_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
int vfb_iommufd_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			    struct vfb_iommu_opened *opened);
int vfb_iommufd_group_fd(struct vfb_iommu *iommu, int group);
int vfb_iommufd_track_dirty(struct vfb_iommu *iommu, bool on);
int vfb_iommufd_read_dirty(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes, uint64_t page,
			   uint64_t *bitmap);

/* Creates a queue of faults, or uses the file of one of the caller's; -1: there is none. */
int vfb_iommufd_make_faults(struct iommufd *iommufd, int caller_fd);
void vfb_iommufd_destroy_faults(struct iommufd *iommufd);
/* Whether the faults of a device will be reported, as far as is known before it is attached. */
int vfb_iommufd_expect_faults(struct iommufd *iommufd, const struct vfb_iommu_device *device);
/* Whether the faults of an open device that was attached are reported. */
int vfb_iommufd_check_faults(struct iommufd *iommufd, int fd,
			     const struct vfb_iommu_device *device);
/* Reports that the kernel has not attached it. */
int vfb_iommufd_no_faults(const struct vfb_iommu_device *device);

void vfb_iommufd_destroy_object(struct iommufd *iommufd, uint32_t id);
/* Begins or ends tracking in one domain. */
int vfb_iommufd_track_domain(struct iommufd *iommufd, uint32_t domain, bool on);

#endif
