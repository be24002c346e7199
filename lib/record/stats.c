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
	struct series *series;

	series = vfb_lines_create(sizeof(*series) + length + 1);
	if (!series)
		return NULL;
	series->phase = phase;
	series->decade = decade;
	memcpy(series->operation, operation, length);
	return series;
}

static struct series *find_series(struct series_list *list, enum vfb_phase phase,
				  const char *operation, int decade)
{
	struct series **link = &list->first, *series;

	if (list->recent && !series_compare(list->recent, phase, operation, decade))
		return list->recent;
	while (*link && series_compare(*link, phase, operation, decade) < 0)
		link = &(*link)->next;
	if (!*link || series_compare(*link, phase, operation, decade)) {
		series = make_series(phase, operation, decade);
		if (!series)
			return NULL;
		series->next = *link;
		*link = series;
	}
	list->recent = *link;
	return *link;
}

static void clear_series(struct series_list *list)
{
	for (struct series *series = list->first; series; series = series->next) {
		series->errors = 0;
		series->bytes = 0;
		memset(&series->durations, 0, sizeof(series->durations));
	}
}

static void free_series(struct series_list *list)
{
	struct series *next;

	for (struct series *series = list->first; series; series = next) {
		next = series->next;
		free(series);
	}
}

static void stats_count_event(const struct vfb_event *event, void *data)
{
	struct vfb_stats *stats = data;
	struct stats_lane *lane = &stats->lanes[VFB_LANE_OF(event->cpu)];
	struct series *series;

	pthread_mutex_lock(&lane->lock);
	while (atomic_load(&stats->paused)) {
		pthread_mutex_unlock(&lane->lock);
		pthread_mutex_lock(&stats->pause);
		pthread_mutex_unlock(&stats->pause);
		pthread_mutex_lock(&lane->lock);
	}
	series = find_series(&lane->series, event->phase, event->operation ? event->operation : "",
			     decade_of(event->bytes));
	/* Without memory for a new series the step is not counted. */
	if (series) {
		series->errors += event->result < 0;
		series->bytes += event->bytes;
		vfb_histogram_add(&series->durations, event->duration_ns);
	}
	pthread_mutex_unlock(&lane->lock);
}

static struct stats_lane *make_lanes(void)
{
	struct stats_lane *lanes = vfb_lines_create(VFB_LANES * sizeof(*lanes));

	for (size_t i = 0; lanes && i < VFB_LANES; i++)
		pthread_mutex_init(&lanes[i].lock, NULL);
	return lanes;
}

int vfb_stats_create(struct vfb_ctx *ctx, const struct vfb_filter *filter, struct vfb_stats **out)
{
	struct vfb_stats *stats = calloc(1, sizeof(*stats));
	int error;

	*out = NULL;
	if (!stats)
		return vfb_fail_memory();
	pthread_mutex_init(&stats->lock, NULL);
	pthread_mutex_init(&stats->pause, NULL);
	stats->lanes = make_lanes();
	if (!stats->lanes)
		error = vfb_fail_memory();
	else
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
	if (!stats)
		return;
	vfb_unsubscribe(stats->subscription);
	for (size_t i = 0; stats->lanes && i < VFB_LANES; i++) {
		free_series(&stats->lanes[i].series);
		pthread_mutex_destroy(&stats->lanes[i].lock);
	}
	free(stats->lanes);
	free_series(&stats->sums);
	pthread_mutex_destroy(&stats->pause);
	pthread_mutex_destroy(&stats->lock);
	free(stats);
}

/* Until counting goes on, the lanes do not change. */
static void pause_counting(struct vfb_stats *stats)
{
	pthread_mutex_lock(&stats->pause);
	atomic_store(&stats->paused, true);
	/* Who has the lock did not see it yet. */
	for (size_t i = 0; i < VFB_LANES; i++) {
		pthread_mutex_lock(&stats->lanes[i].lock);
		pthread_mutex_unlock(&stats->lanes[i].lock);
	}
}

static void resume_counting(struct vfb_stats *stats)
{
	atomic_store(&stats->paused, false);
	pthread_mutex_unlock(&stats->pause);
}

void vfb_stats_reset(struct vfb_stats *stats)
{
	pause_counting(stats);
	for (size_t i = 0; i < VFB_LANES; i++)
		clear_series(&stats->lanes[i].series);
	resume_counting(stats);
}

/* False: no memory. */
static bool add_lane(struct vfb_stats *stats, const struct stats_lane *lane)
{
	for (const struct series *series = lane->series.first; series; series = series->next) {
		struct series *sum;

		sum = find_series(&stats->sums, series->phase, series->operation, series->decade);
		if (!sum)
			return false;
		sum->errors += series->errors;
		sum->bytes += series->bytes;
		vfb_histogram_merge(&sum->durations, &series->durations);
	}
	return true;
}

int vfb_stats_sum_locked(struct vfb_stats *stats)
{
	bool done = true;

	clear_series(&stats->sums);
	/* All at once: where a step is counted, those within it are. */
	pause_counting(stats);
	for (size_t i = 0; i < VFB_LANES && done; i++)
		done = add_lane(stats, &stats->lanes[i]);
	resume_counting(stats);
	return done ? 0 : vfb_fail_memory();
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
	for (const struct series *s = stats->sums.first; s != series; s = s->next)
		if (belong_together(s, series, flags))
			return true;
	return false;
}

int vfb_stats_read(struct vfb_stats *stats, uint32_t flags, struct vfb_stats_entry *entries,
		   size_t room)
{
	struct vfb_histogram *sum;
	size_t found = 0;
	int error;

	if (flags & ~KNOWN_FLAGS)
		return vfb_fail(-EINVAL,
				"unknown flags 0x%x for reading counters: this version knows 0x%x",
				flags, KNOWN_FLAGS);
	sum = malloc(sizeof(*sum));
	if (!sum)
		return vfb_fail_memory();
	pthread_mutex_lock(&stats->lock);
	error = vfb_stats_sum_locked(stats);
	for (struct series *series = stats->sums.first; series && !error; series = series->next) {
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
	return error ? error : (int)found;
}
