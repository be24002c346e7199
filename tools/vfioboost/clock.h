/* SPDX-License-Identifier: MIT */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* Seconds of CLOCK_MONOTONIC. */
double clock_seconds(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

/* Nanoseconds that this thread has spent on a CPU. */
uint64_t clock_thread_ns(void);

#endif
