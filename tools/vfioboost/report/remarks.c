/* SPDX-License-Identifier: MIT */
#include "remarks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "critical.h"

/* Below this share of a start a part is not worth a remark. */
#define WORTH 0.15
/* What may stay unexplained. */
#define DARK 0.03

static void remark(struct json_object *remarks, const struct run *run, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void remark(struct json_object *remarks, const struct run *run, const char *format, ...)
{
	char *text = NULL, *whole = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) >= 0 && asprintf(&whole, "%s: %s", run->name, text) >= 0)
		json_object_array_add(remarks, json_object_new_string(whole));
	va_end(args);
	free(whole);
	free(text);
}

/* Microseconds as a person reads them. */
static const char *time_text(char buffer[32], double us)
{
	if (us >= 1e6)
		snprintf(buffer, 32, "%.2f s", us * 1e-6);
	else if (us >= 1e3)
		snprintf(buffer, 32, "%.1f ms", us * 1e-3);
	else
		snprintf(buffer, 32, "%.0f us", us);
	return buffer;
}

/* How the spans of a phase lie in time. */
struct extent {
	size_t count, threads;
	/* Of all of them, and during which any was going on. */
	double sum, any;
	uint64_t bytes;
	/* The size of the pages of the first one. */
	uint64_t page_bytes;
};

static int by_begin(const void *a, const void *b)
{
	const struct span *left = *(const struct span *const *)a;
	const struct span *right = *(const struct span *const *)b;

	return (left->begin > right->begin) - (left->begin < right->begin);
}

static int by_thread(const void *a, const void *b)
{
	const struct span *left = *(const struct span *const *)a;
	const struct span *right = *(const struct span *const *)b;

	return (left->thread > right->thread) - (left->thread < right->thread);
}

/* Changes the order of the spans. */
static size_t count_threads(const struct span **spans, size_t count)
{
	size_t threads = count > 0;

	qsort(spans, count, sizeof(*spans), by_thread);
	for (size_t i = 1; i < count; i++)
		threads += spans[i]->thread != spans[i - 1]->thread;
	return threads;
}

static struct extent extent_of(const struct run *run, const char *phase)
{
	const struct span **spans = calloc(run->span_count + 1, sizeof(*spans));
	struct extent extent = {0};
	double end;

	for (size_t i = 0; spans && i < run->span_count; i++)
		if (!strcmp(run->spans[i].phase, phase))
			spans[extent.count++] = &run->spans[i];
	if (!extent.count) {
		free(spans);
		return extent;
	}
	qsort(spans, extent.count, sizeof(*spans), by_begin);
	extent.page_bytes = spans[0]->page_bytes;
	end = spans[0]->begin;
	for (size_t i = 0; i < extent.count; i++) {
		double begin = spans[i]->begin > end ? spans[i]->begin : end;

		extent.sum += spans[i]->end - spans[i]->begin;
		extent.bytes += spans[i]->bytes;
		if (spans[i]->end > begin) {
			extent.any += spans[i]->end - begin;
			end = spans[i]->end;
		}
	}
	extent.threads = count_threads(spans, extent.count);
	free(spans);
	return extent;
}

static void remark_memory(struct json_object *remarks, const struct run *run, double whole,
			  const struct critical_path *path)
{
	struct extent populate = extent_of(run, "populate");
	double share = critical_in(path, "populate") / whole;
	struct json_object *cpus = NULL;
	char text[32], threads[48] = "";

	if (share < WORTH)
		return;
	/* A record of exec is of all its threads. */
	if (run->facts) {
		json_object_object_get_ex(run->facts, "cpus", &cpus);
		snprintf(threads, sizeof(threads), ", %zu thread(s) do it", populate.threads);
	}
	if (populate.threads == 1 && json_object_get_int(cpus) > 1)
		remark(remarks, run,
		       "one thread populates the memory, which takes %.0f %% of the start; this "
		       "machine has %d CPUs",
		       100 * share, json_object_get_int(cpus));
	/* The largest base page of any kernel. */
	if (populate.page_bytes && populate.page_bytes <= 65536)
		remark(remarks, run,
		       "memory is made of %ju KiB pages: each of %ju is faulted in, pinned and "
		       "mapped by itself; huge pages (--page-size 2m or 1g, or thp) spare that",
		       (uintmax_t)populate.page_bytes / 1024,
		       (uintmax_t)(populate.bytes / populate.page_bytes));
	else
		remark(remarks, run,
		       "zeroing memory is %.0f %% of the start (%s)%s, at %.2f GiB/s: more CPUs, "
		       "or memory that is populated before it is needed, would make it shorter",
		       100 * share, time_text(text, critical_in(path, "populate")), threads,
		       populate.bytes / 1073741824.0 / populate.any * 1e6);
}

static void remark_devices(struct json_object *remarks, const struct run *run, double whole,
			   const char *phase, const char *what)
{
	struct extent devices = extent_of(run, phase);
	char each[32], all[32];

	if (devices.count < 2 || devices.any / whole < WORTH || devices.sum > 1.1 * devices.any)
		return;
	remark(remarks, run,
	       "%zu devices are %s one after another, %s each, %s in all: each waits for its "
	       "reset, which can be done at once where they are below different bridges",
	       devices.count, what, time_text(each, devices.sum / devices.count),
	       time_text(all, devices.any));
}

static void remark_map(struct json_object *remarks, const struct run *run, double whole,
		       const struct critical_path *path)
{
	struct extent map = extent_of(run, "map");
	double share = critical_in(path, "map") / whole;
	char text[32];

	if (share >= WORTH)
		remark(remarks, run,
		       "the IOMMU's map calls are %.0f %% of the start (%s for %.2f GiB, %zu "
		       "calls): larger pages and memory that is contiguous make them shorter, "
		       "iommufd lets them run in parallel",
		       100 * share, time_text(text, critical_in(path, "map")),
		       map.bytes / 1073741824.0, map.count);
}

static void remark_failures(struct json_object *remarks, const struct run *run)
{
	const struct span *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < run->span_count; i++) {
		const struct span *span = &run->spans[i];

		/* Waiting for less than the whole time is no failure. */
		if (span->result >= 0 || !strcmp(span->phase, "wait"))
			continue;
		if (!count++)
			first = span;
	}
	if (first)
		remark(remarks, run, "%zu steps failed, the first of them %s (%s)%s%s: %s", count,
		       first->name, first->operation, first->device ? " of " : "",
		       first->device ? first->device : "", strerror(-first->result));
}

static void remark_run(struct json_object *remarks, const struct run *run)
{
	const struct span *start = recording_find(run, "start");
	const struct span *stop = recording_find(run, "stop");
	double begin = start ? start->begin : run->begin, end = start ? start->end : run->end;
	struct critical_path path;

	remark_failures(remarks, run);
	if (end <= begin || !critical_find(&path, run, begin, end))
		return;
	remark_memory(remarks, run, end - begin, &path);
	remark_map(remarks, run, end - begin, &path);
	remark_devices(remarks, run, end - begin, "open", "opened");
	if (stop && stop->end > stop->begin)
		remark_devices(remarks, run, stop->end - stop->begin, "close", "closed");
	if (start && path.explained < 1 - DARK)
		remark(remarks, run, "%.1f %% of the start is explained by no step",
		       100 * (1 - path.explained));
	critical_free(&path);
}

static const char *text_of(struct json_object *object, const char *name)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* What the doctor found to be slow. */
static void remark_finding(struct json_object *remarks, struct json_object *finding)
{
	const char *said = text_of(finding, "text"), *remedy = text_of(finding, "remedy");
	const char *device = text_of(finding, "device");
	char *text = NULL;

	if (!said || !remedy)
		return;
	if (asprintf(&text, "host: %s%s%s%s%s", device ? device : "", device ? ": " : "", said,
		     *remedy ? ": " : "", remedy) >= 0)
		json_object_array_add(remarks, json_object_new_string(text));
	free(text);
}

static void remark_host(struct json_object *remarks, struct json_object *host)
{
	struct json_object *findings = NULL;

	if (!host || !json_object_object_get_ex(host, "findings", &findings) ||
	    !json_object_is_type(findings, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(findings); i++)
		remark_finding(remarks, json_object_array_get_idx(findings, i));
}

struct json_object *remarks_of(const struct recording *recording)
{
	struct json_object *remarks = json_object_new_array();

	for (size_t i = 0; i < recording->run_count; i++)
		remark_run(remarks, &recording->runs[i]);
	remark_host(remarks, recording->host);
	return remarks;
}
