/* SPDX-License-Identifier: MIT */
#ifndef VFB_LINUX_EVENT_H
#define VFB_LINUX_EVENT_H

#include "sys/sys.h"

int vfb_linux_eventfd(const struct vfb_sys *sys);
void vfb_linux_eventfd_signal(const struct vfb_sys *sys, int fd);
int vfb_linux_wait_readable(const struct vfb_sys *sys, int fd, int stop);
ssize_t vfb_linux_read(const struct vfb_sys *sys, int fd, void *buf, size_t bytes);

#endif
