/* SPDX-License-Identifier: MIT */
#include "critical.h"

#include <stdlib.h>
#include <string.h>

static int by_end(const void *a, const void *b)
{
	const struct span *left = *(const struct span *const *)a;
	const struct span *right = *(const struct span *const *)b;

	return (left->end > right->end) - (left->end < right->end);
}

/* The spans that count, by their ends; NULL without memory. */
static const struct span **candidates(const struct run *run, double begin, double end,
				      size_t *count)
{
	const struct span **spans = calloc(run->span_count + 1, sizeof(*spans));

	*count = 0;
	for (size_t i = 0; spans && i < run->span_count; i++) {
		const struct span *span = &run->spans[i];

		if (span_is_work(span) && span->begin >= begin && span->end <= end &&
		    span->end > span->begin)
			spans[(*count)++] = span;
	}
	if (spans)
		qsort(spans, *count, sizeof(*spans), by_end);
	return spans;
}

bool critical_find(struct critical_path *path, const struct run *run, double begin, double end)
{
	const struct span **spans;
	double explained = 0, when = end;
	size_t left;

	*path = (struct critical_path){0};
	spans = candidates(run, begin, end, &left);
	if (!spans)
		return false;
	path->steps = calloc(left + 1, sizeof(*path->steps));
	if (!path->steps) {
		free(spans);
		return false;
	}
	while (left--) {
		if (spans[left]->end > when)
			continue;
		path->steps[path->count++] = spans[left];
		explained += spans[left]->end - spans[left]->begin;
		when = spans[left]->begin;
	}
	free(spans);
	path->explained = end > begin ? explained / (end - begin) : 1;
	return true;
}

void critical_free(struct critical_path *path)
{
	free(path->steps);
}

double critical_in(const struct critical_path *path, const char *phase)
{
	double sum = 0;

	for (size_t i = 0; i < path->count; i++)
		if (!strcmp(path->steps[i]->phase, phase))
			sum += path->steps[i]->end - path->steps[i]->begin;
	return sum;
}
