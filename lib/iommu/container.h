/* SPDX-License-Identifier: MIT */
/*
 * An iommufd as the container of groups (VFIO_GROUP_SET_CONTAINER, Linux 6.2). Devices that are
 * opened through their groups are attached to its one compatibility IOAS (IOMMU_VFIO_IOAS).
 */
#ifndef VFB_CONTAINER_H
#define VFB_CONTAINER_H

#include "sys/sys.h"

/* Finds the compatibility IOAS of the caller's iommufd, and creates it if there is none. */
int vfb_container_ioas(const struct vfb_sys *sys, int fd, uint32_t *ioas);

/* Makes an IOAS the compatibility IOAS. Fails with -EBUSY if there is another. */
int vfb_container_set_ioas(const struct vfb_sys *sys, int fd, uint32_t ioas);

#endif
