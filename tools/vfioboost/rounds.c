/* SPDX-License-Identifier: MIT */
#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>

#include "statistics.h"

void rounds_free(struct rounds *rounds)
{
	free(rounds->values);
}

static double *values_of(const struct rounds *rounds, size_t line, size_t value)
{
	return &rounds->values[(line * rounds->value_count + value) * rounds->repeat];
}

static int measure_line(struct rounds *rounds, size_t line, unsigned int round)
{
	double values[MAX_VALUES] = {0};
	int error = rounds->measure(rounds->data, line, values);

	for (size_t i = 0; i < rounds->value_count; i++)
		values_of(rounds, line, i)[round] = values[i];
	return error;
}

int rounds_run(struct rounds *rounds, size_t first, size_t count)
{
	int error = 0;

	if (!rounds->values)
		rounds->values = calloc(rounds->line_count * rounds->value_count * rounds->repeat,
					sizeof(*rounds->values));
	if (!rounds->values) {
		perror("vfioboost");
		return -1;
	}
	/* The first round is overwritten by the one that counts. */
	for (unsigned int round = 0; round <= rounds->repeat; round++)
		for (size_t line = first; line < first + count && !error; line++)
			error = measure_line(rounds, line, round ? round - 1 : 0);
	return error;
}

double rounds_median(const struct rounds *rounds, size_t line, size_t value)
{
	return median(values_of(rounds, line, value), rounds->repeat);
}

double rounds_longest(const struct rounds *rounds, size_t line, size_t value)
{
	const double *values = values_of(rounds, line, value);
	double result = 0;

	for (unsigned int i = 0; i < rounds->repeat; i++)
		if (values[i] > result)
			result = values[i];
	return result;
}
