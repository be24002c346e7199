/* SPDX-License-Identifier: MIT */
/* Keeps events until the writer of the trace formats them, on each CPU apart. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/span.h"
#include "record/trace.h"

/* Records of one CPU: as many as there are room for at first, as wake the writer, and as it may lag
 * behind before the events have to wait for it. */
#define FIRST_RECORDS 64
#define WAKE_RECORDS  256
#define MAX_RECORDS   1024

bool vfb_trace_lanes_create(struct vfb_trace *trace)
{
	trace->lanes = vfb_lines_create(VFB_LANES * sizeof(struct trace_lane));
	for (size_t i = 0; trace->lanes && i < VFB_LANES; i++)
		pthread_mutex_init(&trace->lanes[i].lock, NULL);
	return trace->lanes;
}

void vfb_trace_lanes_destroy(struct vfb_trace *trace)
{
	for (size_t i = 0; trace->lanes && i < VFB_LANES; i++) {
		free(trace->lanes[i].records);
		vfb_id_set_free(&trace->lanes[i].threads);
		pthread_mutex_destroy(&trace->lanes[i].lock);
	}
	free(trace->lanes);
}

/* The array, or a larger one, which replaces it; NULL: there is no memory, and the trace ends. */
static void *grow_array(struct vfb_trace *trace, void *array, size_t room, size_t bytes)
{
	void *larger = realloc(array, room * bytes);

	if (!larger)
		vfb_trace_set_error(trace, -ENOMEM);
	return larger;
}

/* Whether the thread is named; the caller names it if it is not, and only that once. */
static bool knows_thread(struct trace_lane *lane, const struct trace_source *source, int thread)
{
	int added;

	pthread_mutex_lock(&lane->lock);
	added = vfb_id_set_add(&lane->threads, (uint64_t)source->pid << 32 | (uint32_t)thread);
	pthread_mutex_unlock(&lane->lock);
	if (added < 0)
		vfb_trace_set_error(source->trace, added);
	return added <= 0;
}

/* The number of records that the lane has then. */
static size_t add_record_locked(struct trace_lane *lane, const struct trace_record *record)
{
	struct trace_record *records;
	size_t room;

	if (lane->count == lane->room) {
		room = lane->room ? 2 * lane->room : FIRST_RECORDS;
		records = grow_array(record->source->trace, lane->records, room, sizeof(*records));
		if (!records)
			return lane->count;
		lane->records = records;
		lane->room = room;
	}
	lane->records[lane->count] = *record;
	return ++lane->count;
}

static void keep_record(struct trace_lane *lane, const struct trace_record *record)
{
	struct vfb_trace *trace = record->source->trace;
	size_t count;

	pthread_mutex_lock(&lane->lock);
	while (lane->count == MAX_RECORDS) {
		pthread_mutex_unlock(&lane->lock);
		/* The disk is slower than the events arrive: now they have to wait for it. */
		vfb_trace_wake_writer(trace, true);
		pthread_mutex_lock(&lane->lock);
	}
	count = add_record_locked(lane, record);
	pthread_mutex_unlock(&lane->lock);
	if (count == WAKE_RECORDS)
		vfb_trace_wake_writer(trace, false);
}

/* While the thread exists. */
static void name_thread(struct trace_lane *lane, struct trace_source *source, int thread)
{
	struct trace_record record = {.source = source, .names_thread = true};
	const struct vfb_sys *sys = source->trace->sys;
	char path[64], comm[32], safe[32];

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread);
	if (vfb_sys_read_file(sys, path, comm, sizeof(comm)) <= 0)
		snprintf(comm, sizeof(comm), "thread");
	vfb_trace_text(safe, sizeof(safe), comm);
	snprintf(record.operation, sizeof(record.operation), "%s %d", safe, thread);
	record.event.thread = thread;
	keep_record(lane, &record);
}

void vfb_trace_record_event(const struct vfb_event *event, void *data)
{
	struct trace_source *source = data;
	struct trace_lane *lane = &source->trace->lanes[VFB_LANE_OF(event->cpu)];
	struct trace_record record = {.source = source, .event = *event};

	/* Valid only now. */
	record.event.operation = record.event.device = NULL;
	/* Steps within a step lie within it in a viewer; those of a job are elsewhere. */
	record.is_of_job = event->parent && event->parent == vfb_observe_adopted();
	vfb_trace_text(record.operation, sizeof(record.operation),
		       event->operation ? event->operation : "");
	vfb_trace_text(record.device, sizeof(record.device), event->device ? event->device : "");
	if (event->phase != VFB_PHASE_JOB && !event->device &&
	    !knows_thread(lane, source, event->thread))
		name_thread(lane, source, event->thread);
	keep_record(lane, &record);
}

static void take_records(struct vfb_trace *trace, struct trace_lane *lane)
{
	struct trace_record *batch;
	size_t room;

	pthread_mutex_lock(&lane->lock);
	room = trace->batch_count + lane->count;
	if (room > trace->batch_room) {
		batch = grow_array(trace, trace->batch, 2 * room, sizeof(*batch));
		if (!batch)
			lane->count = 0;
		else
			trace->batch_room = 2 * room;
		trace->batch = batch ? batch : trace->batch;
	}
	if (lane->count)
		memcpy(trace->batch + trace->batch_count, lane->records,
		       lane->count * sizeof(*lane->records));
	trace->batch_count += lane->count;
	lane->count = 0;
	pthread_mutex_unlock(&lane->lock);
}

static uint64_t end_of(const struct trace_record *record)
{
	return record->event.start_ns + record->event.duration_ns + record->event.callback_ns;
}

static int by_end(const void *a, const void *b)
{
	uint64_t left = end_of(a), right = end_of(b);

	return (left > right) - (left < right);
}

void vfb_trace_format_records(struct vfb_trace *trace)
{
	trace->batch_count = 0;
	for (size_t i = 0; i < VFB_LANES; i++)
		take_records(trace, &trace->lanes[i]);
	/* What is counted rises with time. */
	if (trace->batch_count)
		qsort(trace->batch, trace->batch_count, sizeof(*trace->batch), by_end);
	for (size_t i = 0; i < trace->batch_count; i++)
		vfb_trace_format(&trace->batch[i]);
}
