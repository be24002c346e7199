/* SPDX-License-Identifier: MIT */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether the command's own call may use so much memory. Where it would fail, populating first
 * would not: that is not bounded by RLIMIT_MEMLOCK, and ends in the OOM killer where the limit of
 * a cgroup is exceeded. The reason is remarked.
 */
bool budget_allows(char *address, uint64_t bytes);

#endif
