/* SPDX-License-Identifier: MIT */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* Seconds of CLOCK_MONOTONIC. */
double clock_seconds(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

#endif
