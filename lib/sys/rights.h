/* SPDX-License-Identifier: MIT */
#ifndef VFB_RIGHTS_H
#define VFB_RIGHTS_H

#include "sys/sys.h"

/* Their numbers in linux/capability.h. */
#define VFB_CAP_DAC_OVERRIDE 1
#define VFB_CAP_IPC_LOCK     14

/* Whether the process has a capability in its own user namespace. */
bool vfb_sys_has_capability(const struct vfb_sys *sys, unsigned int number);

/* Whether it has it in the initial user namespace, which is the only one that counts for pinning:
 * capable(). */
bool vfb_sys_is_capable(const struct vfb_sys *sys, unsigned int number);

/*
 * A limit of /proc/self/limits, such as "Max address space". UINT64_MAX: none, or not known.
 */
uint64_t vfb_sys_soft_limit(const struct vfb_sys *sys, const char *name);

#endif
