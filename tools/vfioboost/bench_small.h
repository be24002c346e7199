/* SPDX-License-Identifier: MIT */
#ifndef BENCH_SMALL_H
#define BENCH_SMALL_H

#include <stdbool.h>
#include <vfioboost.h>

struct small_options {
	const char *device;
	enum vfb_backend backend;
	unsigned int repeat;
	bool json;
};

/* Maps and unmaps one page by the library and by bare system calls, in turns, and prints how they
 * compare. Returns the command's exit status. */
int bench_small(const struct small_options *options);

#endif
