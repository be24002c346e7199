/* SPDX-License-Identifier: MIT */
#include "record/stats.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

/* Operations are copied, since the name of a span may not outlive the counters. */
#define OPERATION_BYTES 64
#define KNOWN_FLAGS	(VFB_STATS_BY_OPERATION | VFB_STATS_BY_SIZE)

static int decade_of(uint64_t bytes)
{
	int decade = -1;

	for (; bytes; bytes /= 10)
		decade++;
	return decade;
}

static int series_compare(const struct series *series, enum vfb_phase phase, const char *operation,
			  int decade)
{
	int order;

	if (series->phase != phase)
		return series->phase < phase ? -1 : 1;
	order = strncmp(series->operation, operation, OPERATION_BYTES - 1);
	return order ? order : series->decade - decade;
}

static struct series *make_series(enum vfb_phase phase, const char *operation, int decade)
{
	size_t length = strnlen(operation, OPERATION_BYTES - 1);
	struct series *series = calloc(1, sizeof(*series) + length + 1);

	if (!series)
		return NULL;
	series->phase = phase;
	series->decade = decade;
	memcpy(series->operation, operation, length);
	return series;
}

static struct series *find_series(struct vfb_stats *stats, enum vfb_phase phase,
				  const char *operation, int decade)
{
	struct series **link = &stats->series, *series;

	if (stats->recent && !series_compare(stats->recent, phase, operation, decade))
		return stats->recent;
	while (*link && series_compare(*link, phase, operation, decade) < 0)
		link = &(*link)->next;
	if (!*link || series_compare(*link, phase, operation, decade)) {
		series = make_series(phase, operation, decade);
		if (!series)
			return NULL;
		series->next = *link;
		*link = series;
	}
	stats->recent = *link;
	return *link;
}

static void stats_count_event(const struct vfb_event *event, void *data)
{
	struct vfb_stats *stats = data;
	struct series *series;

	pthread_mutex_lock(&stats->lock);
	series = find_series(stats, event->phase, event->operation ? event->operation : "",
			     decade_of(event->bytes));
	/* Without memory for a new series the step is not counted. */
	if (series) {
		series->errors += event->result < 0;
		series->bytes += event->bytes;
		vfb_histogram_add(&series->durations, event->duration_ns);
	}
	pthread_mutex_unlock(&stats->lock);
}

int vfb_stats_create(struct vfb_ctx *ctx, const struct vfb_filter *filter, struct vfb_stats **out)
{
	struct vfb_stats *stats = calloc(1, sizeof(*stats));
	int error;

	*out = NULL;
	if (!stats)
		return vfb_fail_memory();
	pthread_mutex_init(&stats->lock, NULL);
	error = vfb_subscribe(ctx, filter, stats_count_event, stats, &stats->subscription);
	if (error) {
		vfb_stats_destroy(stats);
		return error;
	}
	*out = stats;
	return 0;
}

void vfb_stats_destroy(struct vfb_stats *stats)
{
	struct series *next;

	if (!stats)
		return;
	vfb_unsubscribe(stats->subscription);
	for (struct series *series = stats->series; series; series = next) {
		next = series->next;
		free(series);
	}
	pthread_mutex_destroy(&stats->lock);
	free(stats);
}

void vfb_stats_reset(struct vfb_stats *stats)
{
	pthread_mutex_lock(&stats->lock);
	for (struct series *series = stats->series; series; series = series->next) {
		series->errors = 0;
		series->bytes = 0;
		memset(&series->durations, 0, sizeof(series->durations));
	}
	pthread_mutex_unlock(&stats->lock);
}

/* Series that are reported as one are adjacent, except for sizes. */
static bool belong_together(const struct series *a, const struct series *b, uint32_t flags)
{
	if (a->phase != b->phase)
		return false;
	if (flags & VFB_STATS_BY_OPERATION && strcmp(a->operation, b->operation))
		return false;
	return !(flags & VFB_STATS_BY_SIZE) || a->decade == b->decade;
}

static struct vfb_stats_entry entry_of(const struct series *first, uint32_t flags, uint64_t errors,
				       uint64_t bytes, const struct vfb_histogram *durations)
{
	return (struct vfb_stats_entry){
		.phase = first->phase,
		.operation = flags & VFB_STATS_BY_OPERATION ? first->operation : NULL,
		.decade = flags & VFB_STATS_BY_SIZE ? first->decade : -1,
		.count = durations->count,
		.errors = errors,
		.bytes = bytes,
		.total_ns = durations->total,
		.min_ns = durations->min,
		.median_ns = vfb_histogram_quantile(durations, 500),
		.p99_ns = vfb_histogram_quantile(durations, 990),
		.max_ns = durations->max,
	};
}

/* Whether an earlier series is reported together with @series. */
static bool is_reported(const struct vfb_stats *stats, const struct series *series, uint32_t flags)
{
	for (const struct series *s = stats->series; s != series; s = s->next)
		if (belong_together(s, series, flags))
			return true;
	return false;
}

int vfb_stats_read(struct vfb_stats *stats, uint32_t flags, struct vfb_stats_entry *entries,
		   size_t room)
{
	struct vfb_histogram *sum;
	size_t found = 0;

	if (flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL,
				"unknown flags 0x%x for reading counters: this version knows 0x%x",
				flags, KNOWN_FLAGS);
	sum = malloc(sizeof(*sum));
	if (!sum)
		return vfb_fail_memory();
	pthread_mutex_lock(&stats->lock);
	for (struct series *series = stats->series; series; series = series->next) {
		uint64_t errors = 0, bytes = 0;

		if (is_reported(stats, series, flags))
			continue;
		memset(sum, 0, sizeof(*sum));
		for (struct series *s = series; s; s = s->next) {
			if (!belong_together(s, series, flags))
				continue;
			errors += s->errors;
			bytes += s->bytes;
			vfb_histogram_merge(sum, &s->durations);
		}
		/* No step since the last reset. */
		if (!sum->count)
			continue;
		if (found < room)
			entries[found] = entry_of(series, flags, errors, bytes, sum);
		found++;
	}
	pthread_mutex_unlock(&stats->lock);
	free(sum);
	return found;
}
