/* SPDX-License-Identifier: MIT */
/* Converts events to trace events: the track of each, and its arguments. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"
#include "observe/span.h"
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
	vfb_trace_add_locked(source->trace,
			     "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":%d,"
			     "\"args\":{\"name\":\"%s\"}}",
			     source->pid + group, track, name);
}

/* Appends an element to an array; a failure ends the trace. */
static void *trace_grow_array(struct trace_source *source, void *array, size_t count, size_t bytes)
{
	void *larger = realloc(array, (count + 1) * bytes);

	if (!larger)
		source->trace->error = -ENOMEM;
	return larger;
}

static void thread_name(const struct vfb_sys *sys, int thread, char *name, size_t bytes)
{
	char path[64], comm[32], safe[32];

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread);
	if (vfb_sys_read_file(sys, path, comm, sizeof(comm)) <= 0)
		snprintf(comm, sizeof(comm), "thread");
	vfb_trace_text(safe, sizeof(safe), comm);
	snprintf(name, bytes, "%s %d", safe, thread);
}

static void know_thread(struct trace_source *source, int thread)
{
	char name[64];
	int *threads;

	for (size_t i = 0; i < source->thread_count; i++)
		if (source->threads[i] == thread)
			return;
	threads = trace_grow_array(source, source->threads, source->thread_count, sizeof(*threads));
	if (!threads)
		return;
	threads[source->thread_count++] = thread;
	source->threads = threads;
	thread_name(source->trace->sys, thread, name, sizeof(name));
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

static void args_of(char *args, size_t bytes, const struct vfb_event *event, const char *operation)
{
	int used;

	used = snprintf(args, bytes,
			"{\"phase\":\"%s\",\"operation\":\"%s\",\"id\":%" PRIu64
			",\"parent\":%" PRIu64 ",\"result\":%d,\"node\":%d,\"cpu\":%d,"
			"\"thread\":%d,\"callback_ns\":%" PRIu64,
			vfb_phase_name(event->phase), operation, event->id, event->parent,
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
	if (event->device)
		used += snprintf(args + used, bytes - used, ",\"device\":\"%.15s\"", event->device);
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

	vfb_trace_add_locked(source->trace,
			     "{\"name\":\"%s\",\"cat\":\"job\",\"ph\":\"b\",\"id\":%" PRIu64
			     ",\"pid\":%u,\"tid\":%d,\"ts\":" US ",\"bind_id\":\"" FLOW
			     "\",\"flow_out\":true,\"args\":%s},\n"
			     "{\"name\":\"%s\",\"cat\":\"job\",\"ph\":\"e\",\"id\":%" PRIu64
			     ",\"pid\":%u,\"tid\":%d,\"ts\":" US "}",
			     label, event->id, source->pid, event->thread, US_OF(event->start_ns),
			     FLOW_OF(source, event->id), args, label, event->id, source->pid,
			     event->thread, US_OF(end));
}

static void trace_write_span(struct trace_source *source, const struct vfb_event *event,
			     enum group group, int track, const char *label, const char *args)
{
	/* Viewers expect children to lie within their parent, so its duration includes callbacks.
	 */
	uint64_t duration = event->duration_ns + event->callback_ns;
	char flow[64] = "";

	/* Steps within a step lie within it in a viewer; those of a job are elsewhere. */
	if (event->parent && event->parent == vfb_observe_adopted())
		snprintf(flow, sizeof(flow), "\"bind_id\":\"" FLOW "\",\"flow_in\":true,",
			 FLOW_OF(source, event->parent));
	vfb_trace_add_locked(source->trace,
			     "{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%d,"
			     "\"ts\":" US ",\"dur\":" US ",%s\"args\":%s}",
			     label, vfb_phase_name(event->phase), source->pid + group, track,
			     US_OF(event->start_ns), US_OF(duration), flow, args);
}

static void write_counter(struct trace_source *source, uint64_t when, const char *name,
			  uint64_t bytes)
{
	vfb_trace_add_locked(source->trace,
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

void vfb_trace_event(const struct vfb_event *event, void *data)
{
	char operation[64], label[96], args[512];
	struct trace_source *source = data;

	vfb_trace_text(operation, sizeof(operation), event->operation ? event->operation : "");
	label_of(label, sizeof(label), event, operation);
	args_of(args, sizeof(args), event, operation);
	pthread_mutex_lock(&source->trace->lock);
	if (event->phase == VFB_PHASE_JOB) {
		write_async(source, event, label, args);
	} else if (event->device) {
		trace_write_span(source, event, DEVICES, device_track(source, event->device), label,
				 args);
	} else {
		know_thread(source, event->thread);
		trace_write_span(source, event, THREADS, event->thread, label, args);
	}
	count_bytes(source, event);
	pthread_mutex_unlock(&source->trace->lock);
}
