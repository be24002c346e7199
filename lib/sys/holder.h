/* SPDX-License-Identifier: MIT */
#ifndef VFB_HOLDER_H
#define VFB_HOLDER_H

#include "sys/sys.h"

/* "process 4711 (qemu-kvm)", "this process"; "" if no process is known. */
struct vfb_holder {
	char text[64];
};

/*
 * Finds a process that has one of the files open, another one rather than this one. Only root sees
 * the files of other users' processes. Reads all of /proc: only for the text of an error.
 */
struct vfb_holder vfb_sys_find_holder(const struct vfb_sys *sys, const char *const *paths,
				      size_t count);

#endif
