/* SPDX-License-Identifier: MIT */
#ifndef IOCTL_NAME_H
#define IOCTL_NAME_H

#include "../preload/records.h"

/* The name of a request of VFIO or iommufd, "VFIO_IOMMU_MAP_DMA"; "request 0x9f" for one that is
 * newer than this program. @text is used for that. */
#define IOCTL_NAME 40
const char *ioctl_name(enum record_target target, unsigned int request, char text[IOCTL_NAME]);

#endif
