/* SPDX-License-Identifier: MIT */
#ifndef VFB_IOCTL_NAME_H
#define VFB_IOCTL_NAME_H

/* The name of a request that the library makes, "ioctl" for any other. */
const char *vfb_ioctl_name(unsigned long request);

#endif
