/* SPDX-License-Identifier: MIT */
#ifndef CRITICAL_H
#define CRITICAL_H

#include "recording.h"

/*
 * What a start or a stop waited for: from its end back, always the step that was the last to end
 * before what followed could begin. What lies between those steps is not explained by any.
 */
struct critical_path {
	/* From the last to the first; freed with critical_free(). */
	const struct span **steps;
	size_t count;
	/* The share of the whole that the steps explain, from 0 to 1. */
	double explained;
};

/* The critical path of the part of @run between the times. False: out of memory. */
bool critical_find(struct critical_path *path, const struct run *run, double begin, double end);
void critical_free(struct critical_path *path);

/* Microseconds that the path spends in a phase. */
double critical_in(const struct critical_path *path, const char *phase);

#endif
