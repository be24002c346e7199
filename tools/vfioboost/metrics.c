/* SPDX-License-Identifier: MIT */
/* The results of a run as gauges: they stand for the last run, and do not add up over runs. */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "output.h"

/* Of the entries of watch_statistics(). */
static const struct {
	const char *metric, *key, *unit, *help;
	double scale;
} step_metrics[] = {
	{"steps", "count", NULL, "Steps of the last run.", 1},
	{"step_errors", "errors", NULL, "Steps of the last run that failed.", 1},
	{"step_bytes", "bytes", "bytes", "Bytes that the steps concerned.", 1},
	{"step_seconds", "total_ns", "seconds", "Sum of the durations of the steps.", 1e-9},
};

static void print_head(FILE *file, const char *name, const char *unit, const char *help)
{
	fprintf(file, "# TYPE vfioboost_run_%s gauge\n", name);
	if (unit)
		fprintf(file, "# UNIT vfioboost_run_%s %s\n", name, unit);
	fprintf(file, "# HELP vfioboost_run_%s %s\n", name, help);
}

static void print_times(FILE *file, const struct results *results)
{
	const char *phase;
	double seconds;

	print_head(file, "seconds", "seconds",
		   "Time of each phase; of several runs of a mode, the median.");
	for (int mode = 0; mode < MODE_COUNT; mode++)
		for (size_t i = 0; results->has[mode]; i++) {
			phase = results_time(&results->modes[mode], i, &seconds);
			if (!phase)
				break;
			fprintf(file, "vfioboost_run_seconds{mode=\"%s\",phase=\"%s\"} %.9f\n",
				mode_names[mode], phase, seconds);
		}
}

static void print_entry(FILE *file, size_t metric, enum mode mode, struct json_object *entry)
{
	struct json_object *size = json_object_object_get(entry, "size_log10");
	const char *key = step_metrics[metric].key;

	fprintf(file, "vfioboost_run_%s{mode=\"%s\",phase=\"%s\",operation=\"%s\",size=\"",
		step_metrics[metric].metric, mode_names[mode],
		json_object_get_string(json_object_object_get(entry, "phase")),
		json_object_get_string(json_object_object_get(entry, "operation")));
	if (size)
		fprintf(file, "1e%d", json_object_get_int(size));
	fprintf(file, "\"} %.9g\n",
		json_object_get_uint64(json_object_object_get(entry, key)) *
			step_metrics[metric].scale);
}

static void print_steps(FILE *file, const struct results *results, size_t metric)
{
	print_head(file, step_metrics[metric].metric, step_metrics[metric].unit,
		   step_metrics[metric].help);
	for (int mode = 0; mode < MODE_COUNT; mode++) {
		struct json_object *entries = results->modes[mode].statistics;
		size_t count = results->has[mode] && entries ? json_object_array_length(entries) :
							       0;

		for (size_t i = 0; i < count; i++)
			print_entry(file, metric, mode, json_object_array_get_idx(entries, i));
	}
}

static bool has_steps(const struct results *results)
{
	for (int mode = 0; mode < MODE_COUNT; mode++)
		if (results->has[mode] && results->modes[mode].statistics)
			return true;
	return false;
}

/* The same for each mode. */
static uint64_t host_only_bytes(const struct results *results)
{
	for (int mode = 0; mode < MODE_COUNT; mode++)
		if (results->has[mode])
			return results->modes[mode].host_only_bytes;
	return 0;
}

static void print_all(FILE *file, const struct results *results)
{
	print_times(file, results);
	if (has_steps(results))
		for (size_t i = 0; i < sizeof(step_metrics) / sizeof(step_metrics[0]); i++)
			print_steps(file, results, i);
	print_head(file, "memory_bytes", "bytes", "Size of the memory.");
	fprintf(file, "vfioboost_run_memory_bytes %" PRIu64 "\n", results->guest->bytes);
	print_head(file, "host_only_bytes", "bytes",
		   "Memory beside it that is left out of the IOMMU, since no device needs it.");
	fprintf(file, "vfioboost_run_host_only_bytes %" PRIu64 "\n", host_only_bytes(results));
	print_head(file, "devices", NULL, "Number of devices.");
	fprintf(file, "vfioboost_run_devices %zu\n", results->guest->devices.count);
	print_head(file, "timestamp_seconds", "seconds", "When the run ended.");
	fprintf(file, "vfioboost_run_timestamp_seconds %jd\n", (intmax_t)time(NULL));
	fputs("# EOF\n", file);
}

bool metrics_write(const struct results *results, const char *path)
{
	struct output_file output;

	if (!output_file_begin(&output, path))
		return false;
	print_all(output.file, results);
	return output_file_end(&output);
}
