/* SPDX-License-Identifier: MIT */
#ifndef FILL_H
#define FILL_H

#include <stdint.h>

/*
 * Writes all of a range with memset() in @threads threads: what the machine's memory can do, the
 * kernel's work left out. Returns the seconds, negative when a thread could not be made.
 */
double fill_seconds(void *address, uint64_t bytes, unsigned int threads);

/* The CPUs that this process may use. */
unsigned int fill_cpus(void);

#endif
