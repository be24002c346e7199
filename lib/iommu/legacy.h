/* SPDX-License-Identifier: MIT */
/* Containers with groups, as the backends have them that are older than iommufd. */
#ifndef VFB_LEGACY_H
#define VFB_LEGACY_H

#include "iommu/group.h"

struct vfb_legacy {
	struct vfb_iommu iommu;
	/* The container. */
	int fd;
	struct vfb_groups groups;
};

/* Whether a container can have an IOMMU of a type, such as VFIO_TYPE1v2_IOMMU. */
bool vfb_legacy_has_extension(const struct vfb_sys *sys, int fd, unsigned long extension);

/*
 * Opens a container for @ops, or adopts the caller's. Fails with -ENOTSUP unless VFIO has the API
 * that the library knows.
 */
int vfb_legacy_open(struct vfb_legacy *legacy, const struct vfb_iommu_ops *ops,
		    const struct vfb_sys *sys, const struct vfb_iommu_source *source);
/* Closes it unless it was adopted. */
void vfb_legacy_close(struct vfb_legacy *legacy);

/*
 * Adds an open group to the container, with an IOMMU of @type if it has none yet. Returns the error
 * of the kernel, not reported, and the call that gave it.
 */
int vfb_legacy_add_group(struct vfb_legacy *legacy, int group, unsigned long type,
			 const char **call);
/* Whether the container has an IOMMU: of a group of the library, or of the caller. */
bool vfb_legacy_has_iommu(const struct vfb_legacy *legacy);

/* As in struct vfb_iommu_ops, of a struct vfb_legacy. */
void vfb_legacy_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device);
int vfb_legacy_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			   struct vfb_iommu_opened *opened);
int vfb_legacy_group_fd(struct vfb_iommu *iommu, int group);
int vfb_legacy_file(const struct vfb_iommu *iommu, uint32_t *ioas);

/* Whether a container can have the IOMMU of POWER, and not type1; of the host, one of its own. */
bool vfb_legacy_is_spapr(const struct vfb_sys *sys, int fd);
bool vfb_legacy_host_is_spapr(const struct vfb_sys *sys);

#endif
