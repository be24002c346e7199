/* SPDX-License-Identifier: MIT */
#include "exec_trace.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost/trace.h>

#include "../preload/target.h"
#include "exec_call.h"
#include "exec_host.h"

static void trace_add_hex(struct json_object *object, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)value);
	json_object_object_add(object, key, json_object_new_string(text));
}

static struct json_object *trace_make_args(const struct record *record, size_t id)
{
	struct json_object *args = json_object_new_object();
	char text[CALL_NAME], device[TARGET_ADDRESS];

	target_address(record->device, device);
	json_object_object_add(args, "phase",
			       json_object_new_string(vfb_phase_name(exec_call_phase(record))));
	json_object_object_add(args, "operation",
			       json_object_new_string(exec_call_name(record, text)));
	json_object_object_add(args, "id", json_object_new_uint64(id));
	json_object_object_add(args, "parent", json_object_new_int(0));
	json_object_object_add(args, "result",
			       json_object_new_int(target_is_failure(record) ? record->result : 0));
	json_object_object_add(args, "thread", json_object_new_int(record->thread));
	if (record->bytes) {
		json_object_object_add(args, "bytes", json_object_new_uint64(record->bytes));
		trace_add_hex(args, "address", record->address);
		trace_add_hex(args, "iova", record->iova);
	}
	if (*device)
		json_object_object_add(args, "device", json_object_new_string(device));
	return args;
}

/* A failure is reported when the trace ends. */
static void trace_append(struct vfb_trace *trace, struct json_object *event)
{
	vfb_trace_append(trace, json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN));
	json_object_put(event);
}

static void trace_append_name(struct vfb_trace *trace, const char *what, int group, int track,
			      const char *name)
{
	struct json_object *event = json_object_new_object(), *args = json_object_new_object();

	json_object_object_add(args, "name", json_object_new_string(name));
	json_object_object_add(event, "name", json_object_new_string(what));
	json_object_object_add(event, "ph", json_object_new_string("M"));
	json_object_object_add(event, "pid", json_object_new_int(group));
	json_object_object_add(event, "tid", json_object_new_int(track));
	json_object_object_add(event, "args", args);
	trace_append(trace, event);
}

/* In the format of a trace of `vfioboost run`. */
static void trace_append_host(struct vfb_trace *trace, const struct exec_records *records)
{
	struct json_object *event = json_object_new_object(), *args = json_object_new_object();

	json_object_object_add(args, "findings", exec_host_findings(records));
	json_object_object_add(event, "name", json_object_new_string("vfioboost_host"));
	json_object_object_add(event, "ph", json_object_new_string("M"));
	json_object_object_add(event, "pid", json_object_new_int(1));
	json_object_object_add(event, "tid", json_object_new_int(0));
	json_object_object_add(event, "args", args);
	trace_append(trace, event);
}

static void trace_append_call(struct vfb_trace *trace, const struct record *record, size_t id,
			      int group)
{
	const char *phase = vfb_phase_name(exec_call_phase(record));
	struct json_object *event = json_object_new_object();
	char text[CALL_NAME];

	json_object_object_add(event, "name", json_object_new_string(exec_call_name(record, text)));
	json_object_object_add(event, "cat", json_object_new_string(phase));
	json_object_object_add(event, "ph", json_object_new_string("X"));
	json_object_object_add(event, "pid", json_object_new_int(group));
	json_object_object_add(event, "tid", json_object_new_int(record->thread));
	json_object_object_add(event, "ts", json_object_new_double(record->start_ns / 1e3));
	json_object_object_add(event, "dur", json_object_new_double(record->duration_ns / 1e3));
	json_object_object_add(event, "args", trace_make_args(record, id));
	trace_append(trace, event);
}

/* A thread that has a track, in the first of the three groups that its process has. */
struct track {
	int process, thread, group;
};

struct tracks {
	struct track *all;
	size_t count;
};

static int trace_compare_tracks(const void *a, const void *b)
{
	const struct track *left = a, *right = b;

	if (left->process != right->process)
		return left->process < right->process ? -1 : 1;
	return (left->thread > right->thread) - (left->thread < right->thread);
}

static const struct track *trace_find_track(const struct tracks *tracks,
					    const struct record *record)
{
	struct track key = {record->process, record->thread, 0};

	return bsearch(&key, tracks->all, tracks->count, sizeof(key), trace_compare_tracks);
}

/* Sorted, each thread once. */
static bool trace_collect_tracks(struct tracks *tracks, const struct exec_records *records)
{
	size_t count = 0;

	tracks->all = calloc(records->count + 1, sizeof(*tracks->all));
	if (!tracks->all)
		return false;
	for (size_t i = 0; i < records->count; i++)
		tracks->all[i] = (struct track){records->all[i].process, records->all[i].thread, 0};
	qsort(tracks->all, records->count, sizeof(*tracks->all), trace_compare_tracks);
	for (size_t i = 0; i < records->count; i++)
		if (!count || trace_compare_tracks(&tracks->all[count - 1], &tracks->all[i]))
			tracks->all[count++] = tracks->all[i];
	tracks->count = count;
	return true;
}

static void trace_append_tracks(struct vfb_trace *trace, struct tracks *tracks)
{
	int group = 1;
	char name[64];

	for (size_t i = 0; i < tracks->count; i++) {
		struct track *track = &tracks->all[i];
		bool is_first = !i || track->process != track[-1].process;

		if (i && is_first)
			group += 3;
		track->group = group;
		if (is_first) {
			snprintf(name, sizeof(name), "process %d: threads", track->process);
			trace_append_name(trace, "process_name", group, 0, name);
		}
		snprintf(name, sizeof(name), "thread %d", track->thread);
		trace_append_name(trace, "thread_name", group, track->thread, name);
	}
}

bool exec_trace_write(const struct exec_records *records, int fd)
{
	struct tracks tracks = {0};
	struct vfb_trace *trace;

	if (vfb_trace_create(fd, &trace))
		return false;
	if (trace_collect_tracks(&tracks, records)) {
		trace_append_tracks(trace, &tracks);
		for (size_t i = 0; i < records->count; i++)
			trace_append_call(trace, &records->all[i], i + 1,
					  trace_find_track(&tracks, &records->all[i])->group);
	}
	free(tracks.all);
	if (records->count)
		trace_append_host(trace, records);
	return !vfb_trace_destroy(trace);
}
