/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <time.h>

double clock_seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}
