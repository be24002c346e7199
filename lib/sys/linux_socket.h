/* SPDX-License-Identifier: MIT */
#ifndef VFB_LINUX_SOCKET_H
#define VFB_LINUX_SOCKET_H

#include "sys/sys.h"

/* Of the running kernel's table. */
int vfb_linux_connect(const struct vfb_sys *sys, const char *path);
ssize_t vfb_linux_send(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes);
ssize_t vfb_linux_receive(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, int *fds,
			  size_t *count, uint64_t deadline_ns);

#endif
