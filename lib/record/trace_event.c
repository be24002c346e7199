/* SPDX-License-Identifier: MIT */
/* Converts events to trace events: the track of each, and its arguments. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"
#include "record/trace.h"

enum group {
	THREADS,
	DEVICES,
	NODES,
};

#define MAX_NODES 64

/* Viewers expect microseconds; three decimals keep the nanoseconds. */
#define US	  "%" PRIu64 ".%03u"
#define US_OF(ns) (ns) / 1000, (unsigned int)((ns) % 1000)

static void name_track(struct trace_source *source, enum group group, int track, const char *name)
{
	vfb_trace_add(source->trace,
		      "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":%d,"
		      "\"args\":{\"name\":\"%s\"}}",
		      source->pid + group, track, name);
}

/* Appends an element to an array; a failure ends the trace. */
static void *trace_grow_array(struct trace_source *source, void *array, size_t count, size_t bytes)
{
	void *larger = realloc(array, (count + 1) * bytes);

	if (!larger)
		vfb_trace_set_error(source->trace, -ENOMEM);
	return larger;
}

/* Each CPU that a thread has run on names it. */
static void know_thread(struct trace_source *source, int thread, const char *name)
{
	int added = vfb_id_set_add(&source->threads, thread);

	if (added < 0)
		vfb_trace_set_error(source->trace, added);
	if (added > 0)
		name_track(source, THREADS, thread, name);
}

static int device_track(struct trace_source *source, const char *device)
{
	char(*devices)[16];
	size_t i;

	for (i = 0; i < source->device_count; i++)
		if (!strcmp(source->devices[i], device))
			return i;
	devices = trace_grow_array(source, source->devices, source->device_count, sizeof(*devices));
	if (!devices)
		return 0;
	source->devices = devices;
	snprintf(devices[i], sizeof(devices[i]), "%s", device);
	source->device_count++;
	name_track(source, DEVICES, i, device);
	return i;
}

/* The name of a step in a viewer: its phase, or its operation where that says more. */
static void label_of(char *label, size_t bytes, const struct vfb_event *event,
		     const char *operation)
{
	switch (event->phase) {
	case VFB_PHASE_SYSCALL:
	case VFB_PHASE_USER:
		snprintf(label, bytes, "%s", operation);
		break;
	case VFB_PHASE_JOB:
	case VFB_PHASE_WAIT:
	case VFB_PHASE_CREATE:
	case VFB_PHASE_DESTROY:
		snprintf(label, bytes, "%s %s", vfb_phase_name(event->phase), operation);
		break;
	default:
		snprintf(label, bytes, "%s", vfb_phase_name(event->phase));
	}
}

static void args_of(char *args, size_t bytes, const struct trace_record *record)
{
	const struct vfb_event *event = &record->event;
	int used;

	used = snprintf(args, bytes,
			"{\"phase\":\"%s\",\"operation\":\"%s\",\"id\":%" PRIu64
			",\"parent\":%" PRIu64 ",\"result\":%d,\"node\":%d,\"cpu\":%d,"
			"\"thread\":%d,\"callback_ns\":%" PRIu64,
			vfb_phase_name(event->phase), record->operation, event->id, event->parent,
			event->result, event->node, event->cpu, event->thread, event->callback_ns);
	if (event->bytes)
		used += snprintf(args + used, bytes - used, ",\"bytes\":%" PRIu64, event->bytes);
	if (event->page_bytes)
		used += snprintf(args + used, bytes - used,
				 ",\"page_bytes\":%" PRIu64 ",\"pages\":%" PRIu64,
				 event->page_bytes, event->pages);
	if (event->address)
		used += snprintf(args + used, bytes - used, ",\"address\":\"0x%" PRIx64 "\"",
				 event->address);
	if (event->phase == VFB_PHASE_MAP || event->phase == VFB_PHASE_UNMAP)
		used += snprintf(args + used, bytes - used, ",\"iova\":\"0x%" PRIx64 "\"",
				 event->iova);
	if (*record->device)
		used += snprintf(args + used, bytes - used, ",\"device\":\"%s\"", record->device);
	snprintf(args + used, bytes - used, "}");
}

/* What links a job to its steps: in one file, contexts have the same IDs. */
#define FLOW	       "0x%x%010" PRIx64
#define FLOW_OF(s, id) (s)->pid, (id)

/* A job may begin in one thread and end in another, and overlap with other jobs. */
static void write_async(struct trace_source *source, const struct vfb_event *event,
			const char *label, const char *args)
{
	uint64_t end = event->start_ns + event->duration_ns;

	vfb_trace_add(source->trace,
		      "{\"name\":\"%s\",\"cat\":\"job\",\"ph\":\"b\",\"id\":%" PRIu64
		      ",\"pid\":%u,\"tid\":%d,\"ts\":" US ",\"bind_id\":\"" FLOW
		      "\",\"flow_out\":true,\"args\":%s},\n"
		      "{\"name\":\"%s\",\"cat\":\"job\",\"ph\":\"e\",\"id\":%" PRIu64
		      ",\"pid\":%u,\"tid\":%d,\"ts\":" US "}",
		      label, event->id, source->pid, event->thread, US_OF(event->start_ns),
		      FLOW_OF(source, event->id), args, label, event->id, source->pid,
		      event->thread, US_OF(end));
}

static void trace_write_span(const struct trace_record *record, enum group group, int track,
			     const char *label, const char *args)
{
	const struct vfb_event *event = &record->event;
	struct trace_source *source = record->source;
	/* Viewers expect children to lie within their parent, so its duration includes callbacks.
	 */
	uint64_t duration = event->duration_ns + event->callback_ns;
	char flow[64] = "";

	if (record->is_of_job)
		snprintf(flow, sizeof(flow), "\"bind_id\":\"" FLOW "\",\"flow_in\":true,",
			 FLOW_OF(source, event->parent));
	vfb_trace_add(source->trace,
		      "{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%d,"
		      "\"ts\":" US ",\"dur\":" US ",%s\"args\":%s}",
		      label, vfb_phase_name(event->phase), source->pid + group, track,
		      US_OF(event->start_ns), US_OF(duration), flow, args);
}

static void write_counter(struct trace_source *source, uint64_t when, const char *name,
			  uint64_t bytes)
{
	vfb_trace_add(source->trace,
		      "{\"name\":\"%s\",\"ph\":\"C\",\"pid\":%u,\"tid\":0,\"ts\":" US
		      ",\"args\":{\"bytes\":%" PRIu64 "}}",
		      name, source->pid + NODES, US_OF(when), bytes);
}

static void count_bytes(struct trace_source *source, const struct vfb_event *event)
{
	uint64_t end = event->start_ns + event->duration_ns + event->callback_ns;
	bool any = event->node < 0 || event->node >= MAX_NODES;
	char name[64];

	if (event->result)
		return;
	switch (event->phase) {
	case VFB_PHASE_POPULATE:
		if (any)
			snprintf(name, sizeof(name), "populated");
		else
			snprintf(name, sizeof(name), "populated on node %d", event->node);
		source->populated[any ? MAX_NODES : event->node] += event->bytes;
		write_counter(source, end, name, source->populated[any ? MAX_NODES : event->node]);
		vfb_trace_count_rate(&source->populate_rate, event->start_ns, end, event->bytes);
		break;
	case VFB_PHASE_MAP:
		source->mapped += event->bytes;
		write_counter(source, end, "mapped", source->mapped);
		vfb_trace_count_rate(&source->map_rate, event->start_ns, end, event->bytes);
		break;
	case VFB_PHASE_UNMAP:
		source->mapped -= event->bytes < source->mapped ? event->bytes : source->mapped;
		write_counter(source, end, "mapped", source->mapped);
		break;
	default:
		break;
	}
}

void vfb_trace_format(const struct trace_record *record)
{
	const struct vfb_event *event = &record->event;
	struct trace_source *source = record->source;
	char label[96], args[512];

	if (record->names_thread) {
		know_thread(source, event->thread, record->operation);
		return;
	}
	label_of(label, sizeof(label), event, record->operation);
	args_of(args, sizeof(args), record);
	if (event->phase == VFB_PHASE_JOB)
		write_async(source, event, label, args);
	else if (*record->device)
		trace_write_span(record, DEVICES, device_track(source, record->device), label,
				 args);
	else
		trace_write_span(record, THREADS, event->thread, label, args);
	count_bytes(source, event);
}
