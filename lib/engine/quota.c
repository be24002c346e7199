/* SPDX-License-Identifier: MIT */
#include "engine/quota.h"

#include <limits.h>

static void take_smaller(const char *path, uint64_t limit, uint64_t period, void *arg)
{
	unsigned int *cpus = arg;
	uint64_t here;

	(void)path;
	if (!period)
		return;
	here = limit / period + (limit % period != 0);
	if (here < *cpus)
		*cpus = here ? here : 1;
}

unsigned int vfb_quota_cpus(const struct vfb_sys *sys)
{
	unsigned int cpus = UINT_MAX;

	vfb_sys_cgroup(sys, "cpu.max", take_smaller, &cpus);
	return cpus;
}
