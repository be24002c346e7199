/* SPDX-License-Identifier: MIT */
#include "recording.h"

#include <limits.h>
#include <math.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"

#define SCHEMA 1

/* The tracks of a run are in three groups: threads, devices and nodes. */
#define GROUPS 3

/* The row that jobs are drawn in: they belong to no thread. */
#define JOBS_TID (-1)

/* Times are bounded to what microseconds in a double can represent exactly: 31 years. */
#define MAX_US 1e15

#define MAX_ERRNO 4095

/* A position that is found by numbers, in a tree of tsearch(3). */
struct place {
	size_t run;
	uint64_t number;
	size_t position;
};

struct reader {
	struct recording *recording;
	struct events events;
	/* Runs by the pid of their first group; tracks by pid and tid; jobs that have begun by
	 * their id. */
	void *runs, *tracks, *jobs;
};

static bool out_of_memory(struct reader *reader)
{
	return events_refuse(&reader->events, "out of memory");
}

/* ---- Members of an event ---- */

static struct json_object *member(struct json_object *object, const char *name, enum json_type type)
{
	struct json_object *value;

	if (!object || !json_object_object_get_ex(object, name, &value))
		return NULL;
	if (type == json_type_double && json_object_is_type(value, json_type_int))
		return value;
	return json_object_is_type(value, type) ? value : NULL;
}

static uint64_t number(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_int);

	return value ? json_object_get_uint64(value) : 0;
}

/* A number from @low to @high, the nearest of them for others, @otherwise without one. */
static int bounded(struct json_object *object, const char *name, int low, int high, int otherwise)
{
	struct json_object *value = member(object, name, json_type_int);
	int64_t wide = value ? json_object_get_int64(value) : otherwise;

	return wide < low ? low : wide > high ? high : (int)wide;
}

/* Microseconds. False: there are none. */
static bool time_of(struct json_object *event, const char *name, double *us)
{
	struct json_object *value = member(event, name, json_type_double);

	*us = value ? json_object_get_double(value) : NAN;
	return fabs(*us) <= MAX_US;
}

/* ---- Trees ---- */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The one copy of a text; NULL for none, or without memory. */
static const char *keep(struct recording *recording, const char *text)
{
	char *const *node = text ? tfind(text, &recording->texts, compare_texts) : NULL;
	char *copy;

	if (node || !text)
		return node ? *node : NULL;
	copy = strdup(text);
	node = copy ? tsearch(copy, &recording->texts, compare_texts) : NULL;
	if (!node)
		free(copy);
	return node ? *node : NULL;
}

static const char *text_of(struct json_object *object, const char *name)
{
	struct json_object *value = member(object, name, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	if (left->run != right->run)
		return left->run < right->run ? -1 : 1;
	return (left->number > right->number) - (left->number < right->number);
}

static struct place *find_place(void *const *tree, size_t run, uint64_t wanted)
{
	const struct place place = {run, wanted, 0};
	struct place *const *node = tfind(&place, tree, compare_places);

	return node ? *node : NULL;
}

/* Replaces the place with these numbers. False: out of memory. */
static bool set_place(void **tree, size_t run, uint64_t wanted, size_t position)
{
	struct place *place = find_place(tree, run, wanted);

	if (place) {
		place->position = position;
		return true;
	}
	place = malloc(sizeof(*place));
	if (!place)
		return false;
	*place = (struct place){run, wanted, position};
	if (tsearch(place, tree, compare_places))
		return true;
	free(place);
	return false;
}

static void remove_place(void **tree, struct place *place)
{
	tdelete(place, tree, compare_places);
	free(place);
}

/* ---- Runs, tracks and spans ---- */

/* Makes room for one more element at the end. */
static void *grow(void *array, size_t count, size_t bytes)
{
	if (count & (count - 1))
		return array;
	return realloc(array, (count ? 2 * count : 1) * bytes);
}

static bool find_run(struct reader *reader, unsigned int pid, size_t *position)
{
	struct recording *recording = reader->recording;
	unsigned int first = pid - (pid - 1) % GROUPS;
	const struct place *place = find_place(&reader->runs, 0, first);
	struct run *runs;
	char name[32];

	if (place) {
		*position = place->position;
		return true;
	}
	runs = grow(recording->runs, recording->run_count, sizeof(*runs));
	if (!runs)
		return false;
	recording->runs = runs;
	*position = recording->run_count;
	snprintf(name, sizeof(name), "run %u", (first - 1) / GROUPS + 1);
	runs[*position] = (struct run){.pid = first, .name = keep(recording, name)};
	if (!runs[*position].name)
		return false;
	recording->run_count++;
	return set_place(&reader->runs, 0, first, *position);
}

static bool find_track(struct reader *reader, size_t run_position, unsigned int pid, int tid,
		       uint32_t *position)
{
	uint64_t id = (uint64_t)pid << 32 | (uint32_t)tid;
	const struct place *place = find_place(&reader->tracks, run_position, id);
	struct run *run = &reader->recording->runs[run_position];
	struct track *tracks;

	if (place) {
		*position = place->position;
		return true;
	}
	tracks = run->track_count < UINT32_MAX ?
			 grow(run->tracks, run->track_count, sizeof(*tracks)) :
			 NULL;
	if (!tracks)
		return false;
	run->tracks = tracks;
	*position = run->track_count++;
	tracks[*position] = (struct track){.name = tid == JOBS_TID ? "jobs" : "?"};
	return set_place(&reader->tracks, run_position, id, *position);
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

/* ---- Events ---- */

/* An event that counts, and where it belongs. */
struct event {
	struct json_object *object, *args;
	const char *type, *name;
	unsigned int pid;
	int tid;
	size_t run;
};

static bool keep_facts(struct json_object **facts, struct json_object *args)
{
	json_object_put(*facts);
	*facts = json_object_get(args);
	return true;
}

/* "boost: threads" */
static bool name_run(struct recording *recording, struct run *run, const char *name)
{
	char *begin = strndup(name, strcspn(name, ":"));
	const char *kept = keep(recording, begin);

	free(begin);
	if (kept)
		run->name = kept;
	return kept;
}

/* Names of runs and tracks, and facts. */
static bool read_metadata(struct reader *reader, const struct event *event)
{
	struct recording *recording = reader->recording;
	struct run *run = &recording->runs[event->run];
	const char *name = text_of(event->args, "name");
	uint32_t track;

	if (!strcmp(event->name, "vfioboost_session") && event->args)
		return keep_facts(&run->facts, event->args);
	if (!strcmp(event->name, "vfioboost_host") && event->args)
		return keep_facts(&recording->host, event->args);
	if (!name)
		return true;
	if (!strcmp(event->name, "process_name") && event->pid == run->pid)
		return name_run(recording, run, name) || out_of_memory(reader);
	if (strcmp(event->name, "thread_name"))
		return true;
	name = keep(recording, name);
	if (!name || !find_track(reader, event->run, event->pid, event->tid, &track))
		return out_of_memory(reader);
	run->tracks[track].name = name;
	return true;
}

static bool read_span(struct reader *reader, const struct event *event, double begin,
		      double duration)
{
	struct recording *recording = reader->recording;
	struct json_object *args = event->args;
	struct span span = {
		.begin = begin,
		.end = begin + duration,
		.bytes = number(args, "bytes"),
		.page_bytes = number(args, "page_bytes"),
		.result = bounded(args, "result", -MAX_ERRNO, INT_MAX, 0),
		.node = bounded(args, "node", -1, INT_MAX, -1),
		.cpu = bounded(args, "cpu", 0, INT_MAX, 0),
		.thread = bounded(args, "thread", INT_MIN, INT_MAX, 0),
	};

	if (!text_of(args, "phase"))
		return events_refuse(&reader->events,
				     "event %zu has no \"phase\" among its \"args\"",
				     reader->events.count - 1);
	span.name = keep(recording, event->name);
	span.phase = keep(recording, text_of(args, "phase"));
	span.operation = text_of(args, "operation") ? keep(recording, text_of(args, "operation")) :
						      span.name;
	span.device = keep(recording, text_of(args, "device"));
	if (!span.name || !span.phase || !span.operation ||
	    (text_of(args, "device") && !span.device) ||
	    !find_track(reader, event->run, event->pid, event->tid, &span.track))
		return out_of_memory(reader);
	return add_span(reader, &recording->runs[event->run], &span);
}

static bool read_step(struct reader *reader, const struct event *event)
{
	double begin, duration;

	if (!time_of(event->object, "ts", &begin) || !time_of(event->object, "dur", &duration) ||
	    duration < 0)
		return events_refuse(&reader->events, "event %zu has no times (\"ts\", \"dur\")",
				     reader->events.count - 1);
	return read_span(reader, event, begin, duration);
}

/* Jobs come as a beginning, which has everything but the end, and that. */
static bool read_job(struct reader *reader, struct event *event)
{
	uint64_t id = number(event->object, "id");
	struct run *run = &reader->recording->runs[event->run];
	struct place *place;
	double when;

	if (!time_of(event->object, "ts", &when))
		return events_refuse(&reader->events, "event %zu has no time (\"ts\")",
				     reader->events.count - 1);
	if (*event->type == 'b') {
		event->pid = run->pid;
		event->tid = JOBS_TID;
		if (!read_span(reader, event, when, 0))
			return false;
		return set_place(&reader->jobs, event->run, id, run->span_count - 1) ||
		       out_of_memory(reader);
	}
	place = find_place(&reader->jobs, event->run, id);
	if (!place)
		return events_refuse(&reader->events, "event %zu ends a job that has not begun",
				     reader->events.count - 1);
	if (when > run->spans[place->position].begin)
		run->spans[place->position].end = when;
	if (when > run->end)
		run->end = when;
	remove_place(&reader->jobs, place);
	return true;
}

static bool read_event(struct reader *reader, struct json_object *object)
{
	struct event event = {
		.object = object,
		.args = member(object, "args", json_type_object),
		.type = text_of(object, "ph"),
		.name = text_of(object, "name"),
		.pid = bounded(object, "pid", 0, INT_MAX, 0),
		.tid = bounded(object, "tid", INT_MIN, INT_MAX, 0),
	};

	if (!event.type || !event.name)
		return events_refuse(&reader->events, "event %zu has no \"ph\" or \"name\"",
				     reader->events.count - 1);
	/* What others have added, and what says nothing of a run. */
	if (!event.pid || !member(object, "tid", json_type_int) || !strchr("MXbe", *event.type))
		return true;
	if (!find_run(reader, event.pid, &event.run))
		return out_of_memory(reader);
	switch (*event.type) {
	case 'M':
		return read_metadata(reader, &event);
	case 'X':
		return read_step(reader, &event);
	case 'b':
	case 'e':
		return read_job(reader, &event);
	default:
		return true;
	}
}

static bool check_marker(struct reader *reader, struct json_object *marker)
{
	const char *name = text_of(marker, "name");
	uint64_t schema;

	if (!name || strcmp(name, "vfioboost_trace"))
		return events_refuse(&reader->events,
				     "it is not a trace of vfioboost: the first event of one is "
				     "called \"vfioboost_trace\"");
	schema = number(member(marker, "args", json_type_object), "schema");
	if (schema != SCHEMA)
		return events_refuse(&reader->events, "its schema is %ju, this version reads %d",
				     (uintmax_t)schema, SCHEMA);
	return true;
}

static void free_run(struct run *run)
{
	json_object_put(run->facts);
	free(run->tracks);
	free(run->spans);
}

/* Runs without a step are those of contexts that did nothing. */
static void drop_empty(struct recording *recording)
{
	size_t kept = 0;

	for (size_t i = 0; i < recording->run_count; i++) {
		if (recording->runs[i].span_count)
			recording->runs[kept++] = recording->runs[i];
		else
			free_run(&recording->runs[i]);
	}
	recording->run_count = kept;
}

static bool read_events(struct reader *reader)
{
	struct json_object *event;
	bool good = true;

	while (good && (event = events_next(&reader->events))) {
		good = reader->events.count == 1 ? check_marker(reader, event) :
						   read_event(reader, event);
		json_object_put(event);
	}
	if (!good || *reader->events.reason)
		return false;
	if (!reader->events.count)
		return events_refuse(&reader->events,
				     "it is not a trace of vfioboost: there is no event in it");
	drop_empty(reader->recording);
	return reader->recording->run_count ||
	       events_refuse(&reader->events, "there is no step in it");
}

bool recording_read_file(struct recording *recording, FILE *file, char *reason, size_t bytes)
{
	struct reader reader = {.recording = recording};
	bool good;

	*recording = (struct recording){0};
	good = events_open(&reader.events, file, reason, bytes) && read_events(&reader);
	events_close(&reader.events);
	tdestroy(reader.runs, free);
	tdestroy(reader.tracks, free);
	tdestroy(reader.jobs, free);
	return good;
}

bool recording_read(struct recording *recording, const char *path, char *reason, size_t bytes)
{
	FILE *file = fopen(path, "re");
	bool good;

	*recording = (struct recording){0};
	if (!file) {
		snprintf(reason, bytes, "%m");
		return false;
	}
	good = recording_read_file(recording, file, reason, bytes);
	fclose(file);
	return good;
}

void recording_free(struct recording *recording)
{
	for (size_t i = 0; i < recording->run_count; i++)
		free_run(&recording->runs[i]);
	free(recording->runs);
	json_object_put(recording->host);
	tdestroy(recording->texts, free);
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
