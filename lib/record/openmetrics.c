/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"
#include "record/stats.h"

static void print_label(FILE *file, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", file);
		else if (*text == '"' || *text == '\\')
			fprintf(file, "\\%c", *text);
		else
			fputc(*text, file);
	}
}

static void print_sample(FILE *file, const char *name, const struct series *series)
{
	fprintf(file, "vfioboost_%s{phase=\"%s\",operation=\"", name,
		vfb_phase_name(series->phase));
	print_label(file, series->operation);
	fputc('"', file);
}

/* From a microsecond to a quarter of an hour. */
static const struct {
	const char *seconds;
	uint64_t ns;
} bounds[] = {
	{"1e-06", 1000},	   {"1e-05", 10000},	  {"0.0001", 100000},
	{"0.001", 1000000},	   {"0.01", 10000000},	  {"0.1", 100000000},
	{"1.0", 1000000000},	   {"10.0", 10000000000}, {"100.0", 100000000000},
	{"1000.0", 1000000000000},
};

static void print_histogram(FILE *file, const struct series *series,
			    const struct vfb_histogram *durations)
{
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		print_sample(file, "step_seconds_bucket", series);
		fprintf(file, ",le=\"%s\"} %" PRIu64 "\n", bounds[i].seconds,
			vfb_histogram_up_to(durations, bounds[i].ns));
	}
	print_sample(file, "step_seconds_bucket", series);
	fprintf(file, ",le=\"+Inf\"} %" PRIu64 "\n", durations->count);
	print_sample(file, "step_seconds_count", series);
	fprintf(file, "} %" PRIu64 "\n", durations->count);
	print_sample(file, "step_seconds_sum", series);
	fprintf(file, "} %.9f\n", durations->total * 1e-9);
}

enum metric {
	STEPS,
	ERRORS,
	BYTES,
	SECONDS,
};

static const struct {
	const char *name, *type, *unit, *help;
} metrics[] = {
	[STEPS] = {"steps", "counter", NULL, "Steps that have ended."},
	[ERRORS] = {"step_errors", "counter", NULL, "Steps that have failed."},
	[BYTES] = {"step_bytes", "counter", "bytes", "Bytes that the steps concerned."},
	[SECONDS] = {"step_seconds", "histogram", "seconds", "Durations of the steps."},
};

static void print_metric(FILE *file, enum metric metric, const struct series *series,
			 uint64_t errors, uint64_t bytes, const struct vfb_histogram *durations)
{
	uint64_t values[] = {[STEPS] = durations->count, [ERRORS] = errors, [BYTES] = bytes};
	char name[32];

	if (metric == SECONDS) {
		print_histogram(file, series, durations);
		return;
	}
	snprintf(name, sizeof(name), "%s_total", metrics[metric].name);
	print_sample(file, name, series);
	fprintf(file, "} %" PRIu64 "\n", values[metric]);
}

static bool is_same_step(const struct series *a, const struct series *b)
{
	return a->phase == b->phase && !strcmp(a->operation, b->operation);
}

static void print_family(FILE *file, struct vfb_stats *stats, enum metric metric,
			 struct vfb_histogram *sum)
{
	fprintf(file, "# TYPE vfioboost_%s %s\n", metrics[metric].name, metrics[metric].type);
	if (metrics[metric].unit)
		fprintf(file, "# UNIT vfioboost_%s %s\n", metrics[metric].name,
			metrics[metric].unit);
	fprintf(file, "# HELP vfioboost_%s %s\n", metrics[metric].name, metrics[metric].help);
	for (struct series *series = stats->sums.first; series;) {
		struct series *first = series;
		uint64_t errors = 0, bytes = 0;

		memset(sum, 0, sizeof(*sum));
		for (; series && is_same_step(first, series); series = series->next) {
			errors += series->errors;
			bytes += series->bytes;
			vfb_histogram_merge(sum, &series->durations);
		}
		print_metric(file, metric, first, errors, bytes, sum);
	}
}

int vfb_stats_openmetrics(struct vfb_stats *stats, char **text)
{
	struct vfb_histogram *sum = malloc(sizeof(*sum));
	size_t length;
	FILE *file;
	int error;

	*text = NULL;
	file = sum ? open_memstream(text, &length) : NULL;
	if (!file) {
		free(sum);
		return vfb_fail_memory();
	}
	pthread_mutex_lock(&stats->lock);
	error = vfb_stats_sum_locked(stats);
	for (int metric = STEPS; metric <= SECONDS && !error; metric++)
		print_family(file, stats, metric, sum);
	pthread_mutex_unlock(&stats->lock);
	fputs("# EOF\n", file);
	free(sum);
	if (!fclose(file) && !error)
		return 0;
	free(*text);
	*text = NULL;
	return vfb_fail_memory();
}
