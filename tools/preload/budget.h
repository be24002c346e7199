/* SPDX-License-Identifier: MIT */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdbool.h>

struct vfb_memory;

/*
 * Whether the command's own call may use all pages of the memory. Where it would fail, populating
 * first would not: that is not bounded by RLIMIT_MEMLOCK, and ends in the OOM killer where the
 * limit of a cgroup is exceeded. The reason is remarked.
 */
bool budget_allows(const struct vfb_memory *memory);

#endif
