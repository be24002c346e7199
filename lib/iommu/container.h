/* SPDX-License-Identifier: MIT */
/*
 * An iommufd as the container of groups (VFIO_GROUP_SET_CONTAINER, Linux 6.2). Devices that are
 * opened by their group are attached to its compatible IOAS, of which there is one.
 */
#ifndef VFB_CONTAINER_H
#define VFB_CONTAINER_H

#include "sys/sys.h"

/* The compatible IOAS of an iommufd of the caller's, which is made if there is none yet. */
int vfb_container_ioas(const struct vfb_sys *sys, int fd, uint32_t *ioas);

/* Makes an IOAS the compatible one. -EBUSY: another one is. */
int vfb_container_set_ioas(const struct vfb_sys *sys, int fd, uint32_t ioas);

#endif
