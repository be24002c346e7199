/* SPDX-License-Identifier: MIT */
#ifndef VFB_QUOTA_H
#define VFB_QUOTA_H

#include "sys/sys.h"

/*
 * Number of CPUs that the quota of the process's cgroups (cpu.max) allows it to keep busy, at least
 * 1; UINT_MAX without a quota. More threads would be throttled for the rest of each period.
 */
unsigned int vfb_quota_cpus(const struct vfb_sys *sys);

#endif
