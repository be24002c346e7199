/* SPDX-License-Identifier: MIT */
#ifndef VFB_LINUX_PROCESS_H
#define VFB_LINUX_PROCESS_H

#include "sys/sys.h"

/* Of the running kernel's table. */
int vfb_linux_pipe(const struct vfb_sys *sys, int ends[2]);
ssize_t vfb_linux_write(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes);
int vfb_linux_spawn(const struct vfb_sys *sys, const char *program, char *const *argv,
		    const int *fds, size_t count, int *process);
void vfb_linux_wait_process(const struct vfb_sys *sys, int process);
int vfb_linux_process_id(const struct vfb_sys *sys);

#endif
