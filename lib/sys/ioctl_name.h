/* SPDX-License-Identifier: MIT */
#ifndef VFB_IOCTL_NAME_H
#define VFB_IOCTL_NAME_H

/* What a file descriptor is of: the same numbers mean other things to containers and devices. */
enum vfb_ioctl_target {
	VFB_IOCTL_CONTAINER,
	VFB_IOCTL_GROUP,
	VFB_IOCTL_DEVICE,
	VFB_IOCTL_IOMMUFD,
};

/* The name of a request of VFIO or iommufd by its number, the low 8 bits; NULL: it is unknown. */
const char *vfb_ioctl_name(enum vfb_ioctl_target target, unsigned int number);

/* The name of a feature, by the low 16 bits of the flags of VFIO_DEVICE_FEATURE; NULL: unknown. */
const char *vfb_ioctl_feature_name(unsigned int feature);

/*
 * The name of a request of which only that is known; "ioctl" for any other. Of those that
 * containers and devices share, information and maps are taken for a container's, since they are
 * rare for devices, and the others for a device's.
 */
const char *vfb_ioctl_request_name(unsigned long request);

#endif
