/* SPDX-License-Identifier: MIT */
#include "phases.h"

#include <stdlib.h>
#include <string.h>

void phases_init(struct phases *phases)
{
	memset(phases, 0, sizeof(*phases));
	pthread_mutex_init(&phases->lock, NULL);
}

void phases_free(struct phases *phases)
{
	for (int phase = 0; phase < PHASE_COUNT; phase++)
		free(phases->phases[phase].all);
	pthread_mutex_destroy(&phases->lock);
}

static bool append(struct intervals *intervals, struct interval interval)
{
	if (intervals->count == intervals->capacity) {
		size_t capacity = intervals->capacity ? 2 * intervals->capacity : 64;
		struct interval *larger = realloc(intervals->all, capacity * sizeof(*larger));

		if (!larger)
			return false;
		intervals->all = larger;
		intervals->capacity = capacity;
	}
	intervals->all[intervals->count++] = interval;
	return true;
}

void phases_note(const struct vfb_event *event, void *data)
{
	struct interval interval = {event->start_ns, event->start_ns + event->duration_ns};
	struct phases *phases = data;

	if (event->phase >= PHASE_COUNT)
		return;
	pthread_mutex_lock(&phases->lock);
	if (!append(&phases->phases[event->phase], interval))
		phases->out_of_memory = true;
	pthread_mutex_unlock(&phases->lock);
}

static int by_begin(const void *a, const void *b)
{
	const struct interval *left = a, *right = b;

	return (left->begin > right->begin) - (left->begin < right->begin);
}

double phases_seconds(struct phases *phases, enum vfb_phase phase)
{
	struct intervals *intervals = &phases->phases[phase];
	uint64_t total = 0, end = 0;

	if (intervals->count)
		qsort(intervals->all, intervals->count, sizeof(*intervals->all), by_begin);
	for (size_t i = 0; i < intervals->count; i++) {
		struct interval interval = intervals->all[i];

		if (interval.end <= end)
			continue;
		total += interval.end - (interval.begin > end ? interval.begin : end);
		end = interval.end;
	}
	return total * 1e-9;
}

size_t phases_count(const struct phases *phases, enum vfb_phase phase)
{
	return phases->phases[phase].count;
}
