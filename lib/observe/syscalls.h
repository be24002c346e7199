/* SPDX-License-Identifier: MIT */
#ifndef VFB_SYSCALLS_H
#define VFB_SYSCALLS_H

#include "observe/observer.h"

/* A table of system calls that calls another one and reports each call to the subscribers. */
struct vfb_timed_sys {
	struct vfb_sys sys;
	const struct vfb_sys *inner;
	struct vfb_observer *observer;
};

void vfb_timed_sys_init(struct vfb_timed_sys *timed, const struct vfb_sys *inner,
			struct vfb_observer *observer);

#endif
