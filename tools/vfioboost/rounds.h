/* SPDX-License-Identifier: MIT */
#ifndef ROUNDS_H
#define ROUNDS_H

#include <stddef.h>

#define MAX_VALUES 8

/*
 * What every bench does: lines that take turns, so that what changes on the machine meanwhile
 * reaches them all. A round measures each line once. The first round warms up and is not counted.
 */
struct rounds {
	size_t line_count;
	/* How many values a line has, times for instance, up to MAX_VALUES. */
	size_t value_count;
	unsigned int repeat;
	/* Measures a line once. Not 0: it failed, and the reason has been printed. */
	int (*measure)(void *data, size_t line, double *values);
	void *data;
	/* By line, value and round; NULL before the first round. */
	double *values;
};

/* Measures @count lines from @first on, all rounds. Stops at the first failure and returns it. */
int rounds_run(struct rounds *rounds, size_t first, size_t count);
void rounds_free(struct rounds *rounds);

double rounds_median(const struct rounds *rounds, size_t line, size_t value);
double rounds_longest(const struct rounds *rounds, size_t line, size_t value);

#endif
