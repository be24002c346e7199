/* SPDX-License-Identifier: MIT */
#include "watch.h"
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A trace that could not be written leaves no file behind; a pipe or a device stays. */
static void watch_drop_file(struct watch *watch)
{
	struct stat info;

	if (!fstat(watch->fd, &info) && S_ISREG(info.st_mode))
		unlink(watch->trace_path);
	close(watch->fd);
}

int watch_open(struct watch *watch)
{
	int error;

	if (!watch->trace_path)
		return 0;
	watch->fd = open(watch->trace_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (watch->fd < 0) {
		fprintf(stderr, "vfioboost: cannot write the trace %s: %s\n", watch->trace_path,
			strerror(errno));
		return -1;
	}
	error = complain(vfb_trace_create(watch->fd, &watch->trace));
	if (error)
		watch_drop_file(watch);
	return error;
}

int watch_begin(struct watch *watch, struct vfb_ctx *ctx, const char *name)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	int error = 0;

	filter.phases = watch->phases;
	if (watch->trace) {
		watch->contexts++;
		error = complain(vfb_trace_subscribe(watch->trace, ctx, name, &filter,
						     &watch->subscription));
	}
	if (!error && watch->statistics)
		error = complain(vfb_stats_create(ctx, &filter, &watch->stats));
	return error;
}

/* The first of the three groups of tracks that the trace has for the context. */
static unsigned int watch_pid(const struct watch *watch)
{
	return 3 * (watch->contexts - 1) + 1;
}

static void watch_append(struct watch *watch, struct json_object *event)
{
	/* A failure is reported when the trace ends. */
	vfb_trace_append(watch->trace,
			 json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN));
	json_object_put(event);
}

static struct json_object *watch_new_event(const struct watch *watch, const char *name,
					   const char *type, struct json_object *args)
{
	struct json_object *event = json_object_new_object();

	json_object_object_add(event, "name", json_object_new_string(name));
	json_object_object_add(event, "ph", json_object_new_string(type));
	json_object_object_add(event, "pid", json_object_new_int(watch_pid(watch)));
	json_object_object_add(event, "tid", json_object_new_int(gettid()));
	json_object_object_add(event, "args", args);
	return event;
}

static struct json_object *watch_microseconds(uint64_t ns)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 ".%03u", ns / 1000, (unsigned int)(ns % 1000));
	return json_object_new_double_s(ns / 1000.0, text);
}

void watch_span(struct watch *watch, enum vfb_phase phase, const char *name, uint64_t begin,
		uint64_t end)
{
	struct json_object *event, *args;

	if (!watch->trace || !watch->contexts)
		return;
	args = json_object_new_object();
	json_object_object_add(args, "phase", json_object_new_string(vfb_phase_name(phase)));
	json_object_object_add(args, "operation", json_object_new_string(name));
	json_object_object_add(args, "thread", json_object_new_int(gettid()));
	event = watch_new_event(watch, name, "X", args);
	json_object_object_add(event, "cat", json_object_new_string(vfb_phase_name(phase)));
	json_object_object_add(event, "ts", watch_microseconds(begin));
	json_object_object_add(event, "dur", watch_microseconds(end - begin));
	watch_append(watch, event);
}

void watch_facts(struct watch *watch, const char *name, struct json_object *facts)
{
	if (watch->trace && watch->contexts)
		watch_append(watch, watch_new_event(watch, name, "M", facts));
	else
		json_object_put(facts);
}

static struct json_object *watch_entry_object(const struct vfb_stats_entry *entry)
{
	const struct {
		const char *name;
		uint64_t value;
	} values[] = {
		{"count", entry->count},   {"errors", entry->errors},
		{"bytes", entry->bytes},   {"total_ns", entry->total_ns},
		{"min_ns", entry->min_ns}, {"median_ns", entry->median_ns},
		{"p99_ns", entry->p99_ns}, {"max_ns", entry->max_ns},
	};
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "phase",
			       json_object_new_string(vfb_phase_name(entry->phase)));
	json_object_object_add(object, "operation", json_object_new_string(entry->operation));
	json_object_object_add(object, "size_log10",
			       entry->decade < 0 ? NULL : json_object_new_int(entry->decade));
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		json_object_object_add(object, values[i].name,
				       json_object_new_uint64(values[i].value));
	return object;
}

#define MAX_ENTRIES 512

struct json_object *watch_statistics(struct watch *watch)
{
	struct vfb_stats_entry *entries;
	struct json_object *array;
	int count;

	if (!watch->stats)
		return NULL;
	entries = calloc(MAX_ENTRIES, sizeof(*entries));
	if (!entries)
		return NULL;
	count = vfb_stats_read(watch->stats, VFB_STATS_BY_OPERATION | VFB_STATS_BY_SIZE, entries,
			       MAX_ENTRIES);
	array = json_object_new_array();
	for (int i = 0; i < count && i < MAX_ENTRIES; i++)
		json_object_array_add(array, watch_entry_object(&entries[i]));
	free(entries);
	return array;
}

void watch_end(struct watch *watch)
{
	vfb_unsubscribe(watch->subscription);
	vfb_stats_destroy(watch->stats);
	watch->subscription = NULL;
	watch->stats = NULL;
}

int watch_close(struct watch *watch)
{
	int error;

	if (!watch->trace)
		return 0;
	error = complain(vfb_trace_destroy(watch->trace));
	if (error)
		watch_drop_file(watch);
	else
		close(watch->fd);
	return error;
}

static double watch_milliseconds(struct json_object *entry, const char *name)
{
	return json_object_get_uint64(json_object_object_get(entry, name)) * 1e-6;
}

void watch_print_statistics(struct json_object *statistics)
{
	printf("%-10s %-29s %5s %7s %6s %10s %9s %9s %9s %9s\n", "phase", "operation", "size",
	       "count", "errors", "total ms", "min", "median", "p99", "max");
	for (size_t i = 0; i < json_object_array_length(statistics); i++) {
		struct json_object *entry = json_object_array_get_idx(statistics, i);
		struct json_object *decade = json_object_object_get(entry, "size_log10");
		char size[16] = "-";

		if (decade)
			snprintf(size, sizeof(size), "1e%d", json_object_get_int(decade));
		printf("%-10s %-29.29s %5s %7" PRIu64 " %6" PRIu64
		       " %10.3f %9.3f %9.3f %9.3f %9.3f\n",
		       json_object_get_string(json_object_object_get(entry, "phase")),
		       json_object_get_string(json_object_object_get(entry, "operation")), size,
		       json_object_get_uint64(json_object_object_get(entry, "count")),
		       json_object_get_uint64(json_object_object_get(entry, "errors")),
		       watch_milliseconds(entry, "total_ns"), watch_milliseconds(entry, "min_ns"),
		       watch_milliseconds(entry, "median_ns"), watch_milliseconds(entry, "p99_ns"),
		       watch_milliseconds(entry, "max_ns"));
	}
}
