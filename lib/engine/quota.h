/* SPDX-License-Identifier: MIT */
#ifndef VFB_QUOTA_H
#define VFB_QUOTA_H

#include "sys/sys.h"

/*
 * How many CPUs the process can keep busy within the quota of its cgroups (cpu.max), at least 1;
 * UINT_MAX without a quota. More threads than that would be stopped for the rest of each period.
 */
unsigned int vfb_quota_cpus(const struct vfb_sys *sys);

#endif
