/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <time.h>

uint64_t clock_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

double clock_seconds(void)
{
	return clock_ns() * 1e-9;
}
