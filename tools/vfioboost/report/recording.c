/* SPDX-License-Identifier: MIT */
#include "recording.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA 1

/* The three groups of tracks that each run has, by their order. */
enum {
	THREADS,
	DEVICES,
	NODES,
	GROUPS,
};

/* The row that jobs are drawn in: they belong to no thread. */
#define JOBS_TID (-1)

struct reader {
	struct recording *recording;
	char *reason;
	size_t reason_bytes;
	/* Which element of the file is read. */
	size_t position;
};

static bool refuse(struct reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool refuse(struct reader *reader, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reader->reason, reader->reason_bytes, format, args);
	va_end(args);
	return false;
}

static struct json_object *member(struct json_object *object, const char *name, enum json_type type)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, name, &value))
		return NULL;
	if (type == json_type_double && json_object_is_type(value, json_type_int))
		return value;
	return json_object_is_type(value, type) ? value : NULL;
}

static const char *text(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

static uint64_t number(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_int);

	return value ? json_object_get_uint64(value) : 0;
}

/* Makes room for one more element at the end. */
static void *grow(void *array, size_t count, size_t bytes)
{
	if (count & (count - 1))
		return array;
	return realloc(array, (count ? 2 * count : 1) * bytes);
}

static struct run *find_run(struct reader *reader, unsigned int pid)
{
	struct recording *recording = reader->recording;
	unsigned int first = pid - (pid - 1) % GROUPS;
	struct run *runs;

	for (size_t i = 0; i < recording->run_count; i++)
		if (recording->runs[i].pid == first)
			return &recording->runs[i];
	runs = grow(recording->runs, recording->run_count, sizeof(*runs));
	if (!runs)
		return NULL;
	recording->runs = runs;
	runs += recording->run_count++;
	*runs = (struct run){.pid = first};
	snprintf(runs->name, sizeof(runs->name), "run %u", (first - 1) / GROUPS + 1);
	return runs;
}

static bool find_track(struct run *run, unsigned int pid, int tid, size_t *position)
{
	struct track *tracks;

	for (*position = 0; *position < run->track_count; ++*position)
		if (run->tracks[*position].pid == pid && run->tracks[*position].tid == tid)
			return true;
	tracks = grow(run->tracks, run->track_count, sizeof(*tracks));
	if (!tracks)
		return false;
	run->tracks = tracks;
	tracks[run->track_count++] = (struct track){
		.name = tid == JOBS_TID ? "jobs" : "?",
		.pid = pid,
		.tid = tid,
	};
	return true;
}

static bool out_of_memory(struct reader *reader)
{
	return refuse(reader, "out of memory");
}

/* Names of runs and tracks, and facts. */
static bool read_metadata(struct reader *reader, struct json_object *event, const char *name,
			  struct run *run, unsigned int pid, int tid)
{
	struct json_object *args = member(event, "args", json_type_object);
	const char *value = args ? text(args, "name") : NULL;
	size_t track;

	if (!strcmp(name, "vfioboost_session") && args) {
		run->facts = args;
	} else if (!strcmp(name, "vfioboost_host") && args) {
		reader->recording->host = args;
	} else if (!strcmp(name, "process_name") && value && pid == run->pid) {
		/* "boost: threads" */
		snprintf(run->name, sizeof(run->name), "%.*s", (int)strcspn(value, ":"), value);
	} else if (!strcmp(name, "thread_name") && value) {
		if (!find_track(run, pid, tid, &track))
			return out_of_memory(reader);
		run->tracks[track].name = value;
	}
	return true;
}

static bool add_span(struct reader *reader, struct run *run, const struct span *span)
{
	struct span *spans = grow(run->spans, run->span_count, sizeof(*spans));

	if (!spans)
		return out_of_memory(reader);
	run->spans = spans;
	spans[run->span_count++] = *span;
	if (run->span_count == 1 || span->begin < run->begin)
		run->begin = span->begin;
	if (run->span_count == 1 || span->end > run->end)
		run->end = span->end;
	return true;
}

static bool read_span(struct reader *reader, struct json_object *event, const char *name,
		      struct run *run, unsigned int pid, int tid)
{
	struct json_object *args = member(event, "args", json_type_object);
	struct json_object *begin = member(event, "ts", json_type_double);
	struct json_object *duration = member(event, "dur", json_type_double);
	const char *phase = args ? text(args, "phase") : NULL;
	struct span span = {.name = name, .phase = phase};

	if (!begin || !duration || json_object_get_double(duration) < 0)
		return refuse(reader, "event %zu has no times (\"ts\", \"dur\")", reader->position);
	if (!phase)
		return refuse(reader, "event %zu has no \"phase\" among its \"args\"",
			      reader->position);
	span.operation = text(args, "operation");
	if (!span.operation)
		span.operation = name;
	span.device = text(args, "device");
	span.begin = json_object_get_double(begin);
	span.end = span.begin + json_object_get_double(duration);
	span.id = number(args, "id");
	span.parent = number(args, "parent");
	span.bytes = number(args, "bytes");
	span.page_bytes = number(args, "page_bytes");
	span.result = json_object_get_int(json_object_object_get(args, "result"));
	span.node = member(args, "node", json_type_int) ? (int)number(args, "node") : -1;
	span.cpu = number(args, "cpu");
	span.thread = number(args, "thread");
	if (!find_track(run, pid, tid, &span.track))
		return out_of_memory(reader);
	return add_span(reader, run, &span);
}

/* Jobs come as a beginning, which has everything but the end, and that. */
static bool read_async(struct reader *reader, struct json_object *event, struct run *run,
		       bool begins)
{
	struct json_object *when = member(event, "ts", json_type_double);
	uint64_t id = number(event, "id");
	struct json_object *zero;
	bool done;

	if (!when)
		return refuse(reader, "event %zu has no time (\"ts\")", reader->position);
	if (begins) {
		zero = json_object_new_double(0);
		json_object_object_add(event, "dur", zero);
		return read_span(reader, event, text(event, "name"), run, run->pid, JOBS_TID);
	}
	done = false;
	for (size_t i = run->span_count; i-- > 0 && !done;) {
		if (run->spans[i].id != id)
			continue;
		run->spans[i].end = json_object_get_double(when);
		if (run->spans[i].end > run->end)
			run->end = run->spans[i].end;
		done = true;
	}
	return done || refuse(reader, "event %zu ends a job that has not begun", reader->position);
}

static bool read_event(struct reader *reader, struct json_object *event)
{
	const char *type = text(event, "ph"), *name = text(event, "name");
	struct json_object *pid = member(event, "pid", json_type_int);
	struct json_object *tid = member(event, "tid", json_type_int);
	struct run *run;

	if (!type || !name)
		return refuse(reader, "event %zu has no \"ph\" or \"name\"", reader->position);
	/* What others have added, and what says nothing of a run. */
	if (!pid || !tid || json_object_get_int(pid) < 1)
		return true;
	run = find_run(reader, json_object_get_int(pid));
	if (!run)
		return out_of_memory(reader);
	switch (*type) {
	case 'M':
		return read_metadata(reader, event, name, run, json_object_get_int(pid),
				     json_object_get_int(tid));
	case 'X':
		return read_span(reader, event, name, run, json_object_get_int(pid),
				 json_object_get_int(tid));
	case 'b':
	case 'e':
		return read_async(reader, event, run, *type == 'b');
	default:
		return true;
	}
}

static bool check_marker(struct reader *reader, struct json_object *events)
{
	struct json_object *marker = json_object_array_get_idx(events, 0);
	const char *name = json_object_is_type(marker, json_type_object) ? text(marker, "name") :
									   NULL;
	struct json_object *args;
	uint64_t schema;

	if (!name || strcmp(name, "vfioboost_trace"))
		return refuse(reader, "it is not a trace of vfioboost: the first event of one is "
				      "called \"vfioboost_trace\"");
	args = member(marker, "args", json_type_object);
	schema = args ? number(args, "schema") : 0;
	if (schema != SCHEMA)
		return refuse(reader, "its schema is %ju, this version reads %d", (uintmax_t)schema,
			      SCHEMA);
	return true;
}

/* Runs without a step are those of contexts that did nothing. */
static void drop_empty(struct recording *recording)
{
	size_t kept = 0;

	for (size_t i = 0; i < recording->run_count; i++) {
		if (recording->runs[i].span_count)
			recording->runs[kept++] = recording->runs[i];
		else
			free(recording->runs[i].tracks);
	}
	recording->run_count = kept;
}

static bool read_events(struct reader *reader)
{
	struct json_object *events = reader->recording->file;

	if (!json_object_is_type(events, json_type_array))
		return refuse(reader, "it is not a trace of vfioboost: that is an array of events");
	if (!check_marker(reader, events))
		return false;
	for (; reader->position < json_object_array_length(events); reader->position++) {
		struct json_object *event = json_object_array_get_idx(events, reader->position);

		if (!json_object_is_type(event, json_type_object))
			return refuse(reader, "event %zu is not an object", reader->position);
		if (!read_event(reader, event))
			return false;
	}
	drop_empty(reader->recording);
	return reader->recording->run_count || refuse(reader, "there is no step in it");
}

/* The whole file, to be freed; NULL with the reason told. */
static char *read_file(struct reader *reader, const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "re");
	char *content = NULL, *larger;
	size_t done;

	*bytes = 0;
	if (!file) {
		refuse(reader, "%m");
		return NULL;
	}
	do {
		larger = realloc(content, *bytes + (1 << 20));
		if (!larger) {
			out_of_memory(reader);
			break;
		}
		content = larger;
		done = fread(content + *bytes, 1, 1 << 20, file);
		*bytes += done;
	} while (done);
	if (ferror(file))
		refuse(reader, "%m");
	else if (larger && !*bytes)
		refuse(reader, "it is empty");
	if (ferror(file) || !larger || !*bytes) {
		free(content);
		content = NULL;
	}
	fclose(file);
	return content;
}

static bool parse(struct reader *reader, const char *content, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new();
	enum json_tokener_error error;
	bool parsed;

	if (!tokener)
		return out_of_memory(reader);
	reader->recording->file = json_tokener_parse_ex(tokener, content, bytes);
	error = json_tokener_get_error(tokener);
	parsed = error == json_tokener_success;
	if (error == json_tokener_continue)
		refuse(reader, "it is cut off after %zu bytes", bytes);
	else if (!parsed)
		refuse(reader, "it is not JSON from byte %zu on: %s",
		       json_tokener_get_parse_end(tokener), json_tokener_error_desc(error));
	json_tokener_free(tokener);
	return parsed;
}

bool recording_read(struct recording *recording, const char *path, char *reason, size_t bytes)
{
	struct reader reader = {.recording = recording, .reason = reason, .reason_bytes = bytes};
	size_t length;
	char *content;
	bool parsed;

	*recording = (struct recording){0};
	content = read_file(&reader, path, &length);
	if (!content)
		return false;
	parsed = parse(&reader, content, length);
	free(content);
	return parsed && read_events(&reader);
}

void recording_free(struct recording *recording)
{
	for (size_t i = 0; i < recording->run_count; i++) {
		free(recording->runs[i].tracks);
		free(recording->runs[i].spans);
	}
	free(recording->runs);
	json_object_put(recording->file);
}

const struct span *recording_find(const struct run *run, const char *name)
{
	for (size_t i = 0; i < run->span_count; i++)
		if (!strcmp(run->spans[i].phase, "user") && !strcmp(run->spans[i].name, name))
			return &run->spans[i];
	return NULL;
}

bool span_is_work(const struct span *span)
{
	static const char *const others[] = {"user", "job", "bar", "wait", "syscall", "kernel"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!strcmp(span->phase, others[i]))
			return false;
	return true;
}
