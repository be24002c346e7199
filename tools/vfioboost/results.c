/* SPDX-License-Identifier: MIT */
#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "arguments.h"
#include "kernel_trace.h"
#include "output.h"
#include "statistics.h"

/* The times of a session, in the order in which they are shown. */
static const struct {
	const char *name, *label;
	size_t offset;
} times[] = {
	{"open", "open devices", offsetof(struct session, open_s)},
	{"populate", "populate", offsetof(struct session, populate_s)},
	{"map", "map", offsetof(struct session, map_s)},
	{"start", "start", offsetof(struct session, start_s)},
	{"unmap", "unmap", offsetof(struct session, unmap_s)},
	{"close", "close devices", offsetof(struct session, close_s)},
	{"stop", "stop", offsetof(struct session, stop_s)},
	/* The last one: it may be missing. */
	{"reboot", "reboot", offsetof(struct session, reboot_s)},
};

#define TIME_COUNT (sizeof(times) / sizeof(times[0]))

/* Left to right in the table. */
static const enum mode columns[] = {MODE_LAZY, MODE_SERIAL, MODE_VMM, MODE_ALONE, MODE_BOOST};

static size_t time_count(const struct session *session)
{
	return session->rebooted ? TIME_COUNT : TIME_COUNT - 1;
}

static double time_of(const struct session *session, size_t i)
{
	return *(const double *)((const char *)session + times[i].offset);
}

const char *results_time(const struct session *session, size_t i, double *seconds)
{
	if (i >= time_count(session))
		return NULL;
	*seconds = time_of(session, i);
	return times[i].name;
}

struct session results_median(const struct session *sessions, size_t count)
{
	struct session result = sessions[count - 1];
	double *values = calloc(count, sizeof(*values));

	for (size_t i = 0; values && i < TIME_COUNT; i++) {
		for (size_t s = 0; s < count; s++)
			values[s] = time_of(&sessions[s], i);
		*(double *)((char *)&result + times[i].offset) = median(values, count);
	}
	free(values);
	return result;
}

static const char *backend_name(const struct guest *guest, const struct session *session)
{
	return guest->devices.count ? backend_names[session->backend] : "none";
}

struct json_object *results_facts(const struct guest *guest, enum mode mode,
				  const struct session *session)
{
	struct json_object *facts = output_object();

	json_object_object_add(facts, "mode", json_object_new_string(mode_names[mode]));
	json_object_object_add(facts, "memory_bytes", json_object_new_uint64(guest->bytes));
	json_object_object_add(facts, "host_only_bytes",
			       json_object_new_uint64(session->host_only_bytes));
	json_object_object_add(facts, "page_size",
			       json_object_new_string(page_size_name(session->page_size)));
	json_object_object_add(facts, "backend",
			       json_object_new_string(backend_name(guest, session)));
	json_object_object_add(facts, "devices", json_object_new_int(guest->devices.count));
	json_object_object_add(facts, "cpus", json_object_new_int(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_object_add(facts, "start_s", json_object_new_double(session->start_s));
	json_object_object_add(facts, "stop_s", json_object_new_double(session->stop_s));
	if (session->kernel)
		json_object_object_add(facts, "kernel_share", json_object_get(session->kernel));
	return facts;
}

static const struct session *any_session(const struct results *results)
{
	for (int mode = 0; mode < MODE_COUNT; mode++)
		if (results->has[mode])
			return &results->modes[mode];
	return NULL;
}

bool results_table(const struct results *results)
{
	const struct session *any = any_session(results);
	const struct guest *guest = results->guest;
	struct utsname kernel;

	uname(&kernel);
	printf("%.2f GiB in %s pages, %zu devices, %s, Linux %s, %s of %u\n\n",
	       guest->bytes / 1073741824.0, page_size_name(any->page_size), guest->devices.count,
	       backend_name(guest, any), kernel.release,
	       results->repeat > 1 ? "medians" : "one run", results->repeat);
	printf("%-14s", "seconds");
	for (size_t c = 0; c < MODE_COUNT; c++)
		if (results->has[columns[c]])
			printf(" %9s", mode_names[columns[c]]);
	printf("\n");
	for (size_t i = 0; i < time_count(any); i++) {
		printf("%-14s", times[i].label);
		for (size_t c = 0; c < MODE_COUNT; c++)
			if (results->has[columns[c]])
				printf(" %9.3f", time_of(&results->modes[columns[c]], i));
		printf("\n");
	}
	printf("%-14s", "map calls");
	for (size_t c = 0; c < MODE_COUNT; c++)
		if (results->has[columns[c]])
			printf(" %9zu", results->modes[columns[c]].map_calls);
	printf("\n");
	if (any->host_only_bytes)
		printf("\n%.2f MiB more are left out of the IOMMU, since no device needs them.\n",
		       any->host_only_bytes / 1048576.0);
	if (any->huge_bytes < guest->bytes)
		printf("\n%.2f GiB are in huge pages.\n", any->huge_bytes / 1073741824.0);
	if (*any->fallback)
		printf("\nLarger pages are not available:\n%s\n", any->fallback);
	if (any->misplaced_bytes)
		printf("\n%.2f GiB are on other nodes than requested: those had too few free pages.\n",
		       any->misplaced_bytes / 1073741824.0);
	if (results->has[MODE_SERIAL] && results->has[MODE_BOOST])
		printf("\nboost starts in %.2f and stops in %.2f of the time of serial.\n",
		       results->modes[MODE_BOOST].start_s / results->modes[MODE_SERIAL].start_s,
		       results->modes[MODE_BOOST].stop_s / results->modes[MODE_SERIAL].stop_s);
	for (size_t c = 0; c < MODE_COUNT; c++) {
		if (!results->has[columns[c]] || !results->modes[columns[c]].kernel)
			continue;
		printf("\nTime in the kernel, %s:\n", mode_names[columns[c]]);
		kernel_trace_print(results->modes[columns[c]].kernel);
	}
	for (size_t c = 0; c < MODE_COUNT; c++) {
		if (!results->has[columns[c]] || !results->modes[columns[c]].statistics)
			continue;
		printf("\n%s:\n", mode_names[columns[c]]);
		watch_print_statistics(results->modes[columns[c]].statistics);
	}
	return output_flush();
}

static struct json_object *mode_object(const struct session *session)
{
	struct json_object *object = json_object_new_object(), *nodes = json_object_new_array();

	for (size_t i = 0; i < time_count(session); i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s_s", times[i].name);
		json_object_object_add(object, name, json_object_new_double(time_of(session, i)));
	}
	json_object_object_add(object, "map_calls", json_object_new_uint64(session->map_calls));
	for (int node = 0; node < session->node_count; node++)
		json_object_array_add(nodes, json_object_new_uint64(session->node_bytes[node]));
	json_object_object_add(object, "populated_bytes_per_node", nodes);
	json_object_object_add(object, "huge_bytes", json_object_new_uint64(session->huge_bytes));
	json_object_object_add(object, "misplaced_bytes",
			       json_object_new_uint64(session->misplaced_bytes));
	if (session->kernel)
		json_object_object_add(object, "kernel_share", json_object_get(session->kernel));
	if (session->statistics)
		json_object_object_add(object, "stats", json_object_get(session->statistics));
	return object;
}

bool results_json(const struct results *results)
{
	struct json_object *object = output_object(), *devices = json_object_new_array();
	const struct session *any = any_session(results);
	const struct guest *guest = results->guest;

	json_object_object_add(object, "backend", json_object_new_string(backend_name(guest, any)));
	json_object_object_add(object, "page_size",
			       json_object_new_string(page_size_name(any->page_size)));
	json_object_object_add(object, "fallback", json_object_new_string(any->fallback));
	json_object_object_add(object, "memory_bytes", json_object_new_uint64(guest->bytes));
	json_object_object_add(object, "host_only_bytes",
			       json_object_new_uint64(any->host_only_bytes));
	for (size_t i = 0; i < guest->devices.count; i++)
		json_object_array_add(devices, json_object_new_string(guest->devices.all[i]));
	json_object_object_add(object, "devices", devices);
	json_object_object_add(object, "repeat", json_object_new_int(results->repeat));
	for (int mode = 0; mode < MODE_COUNT; mode++)
		if (results->has[mode])
			json_object_object_add(object, mode_names[mode],
					       mode_object(&results->modes[mode]));
	return output_json(object);
}
