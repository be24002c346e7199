/* SPDX-License-Identifier: MIT */
/* The file of a trace: a JSON array that is complete after each write. */
#include "record/trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

#define BUFFER_BYTES (64 << 10)
/* The longest event. */
#define EVENT_BYTES 2048
#define NAME_BYTES  128
#define FLUSH_NS    UINT64_C(250000000)

static const char end[] = "\n]\n";

static int write_all(struct vfb_trace *trace, const char *data, size_t bytes)
{
	const struct vfb_sys *sys = trace->sys;
	off_t offset = trace->offset;

	while (bytes) {
		ssize_t done = sys->pwrite(sys, trace->fd, data, bytes, offset);

		if (done <= 0)
			return done ? (int)done : -EIO;
		data += done;
		offset += done;
		bytes -= done;
	}
	return 0;
}

/*
 * Writes what is buffered, by one thread at a time; drops the lock meanwhile. The next write
 * overwrites the end of the array.
 */
static void trace_write_buffer_locked(struct vfb_trace *trace)
{
	char *full = trace->buffer;
	size_t used = trace->used;
	int error;

	trace->flush = false;
	if (trace->error || !used)
		return;
	trace->buffer = trace->spare;
	trace->spare = full;
	trace->used = 0;
	trace->writing = true;
	pthread_mutex_unlock(&trace->lock);
	memcpy(full + used, end, sizeof(end) - 1);
	error = write_all(trace, full, used + sizeof(end) - 1);
	pthread_mutex_lock(&trace->lock);
	trace->writing = false;
	if (!trace->error)
		trace->error = error;
	trace->offset += used;
}

static void *run_writer(void *arg)
{
	struct vfb_trace *trace = arg;
	const struct vfb_sys *sys = trace->sys;

	pthread_mutex_lock(&trace->lock);
	while (!trace->stopping || trace->used) {
		uint64_t next = sys->now(sys) + FLUSH_NS;
		int timeout = 0;

		while (!trace->stopping && !trace->flush && !timeout)
			timeout = sys->cond_wait(sys, &trace->changed, &trace->lock, next);
		trace_write_buffer_locked(trace);
		if (trace->error)
			trace->used = 0;
		sys->cond_broadcast(sys, &trace->changed);
	}
	pthread_mutex_unlock(&trace->lock);
	return NULL;
}

/* Waits until everything that was added has been written. */
static void trace_flush_locked(struct vfb_trace *trace)
{
	const struct vfb_sys *sys = trace->sys;

	while ((trace->used || trace->writing) && !trace->error) {
		trace->flush = true;
		sys->cond_broadcast(sys, &trace->changed);
		sys->cond_wait(sys, &trace->changed, &trace->lock, UINT64_MAX);
	}
}

static void trace_append_locked(struct vfb_trace *trace, const char *json, size_t length)
{
	/* The disk is slower than the events arrive: now they have to wait for it. */
	if (trace->used + 2 + length + sizeof(end) > BUFFER_BYTES)
		trace_flush_locked(trace);
	if (trace->error)
		return;
	memcpy(trace->buffer + trace->used, trace->begun ? ",\n" : "[\n", 2);
	memcpy(trace->buffer + trace->used + 2, json, length);
	trace->used += 2 + length;
	trace->begun = true;
}

void vfb_trace_add_locked(struct vfb_trace *trace, const char *format, ...)
{
	char json[EVENT_BYTES];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(json, sizeof(json), format, args);
	va_end(args);
	/* Names were truncated before, and everything else has a bounded length. */
	if (length > 0 && (size_t)length < sizeof(json))
		trace_append_locked(trace, json, length);
}

static int trace_fail(int error)
{
	if (!error)
		return 0;
	return vfb_fail_errno(error, "cannot write the trace%s",
			      error == -ESPIPE ? ": it needs a file, not a pipe" : "");
}

static void free_trace(struct vfb_trace *trace)
{
	struct trace_source *next;

	for (struct trace_source *source = trace->sources; source; source = next) {
		next = source->next;
		free(source->threads);
		free(source->devices);
		free(source);
	}
	pthread_cond_destroy(&trace->changed);
	pthread_mutex_destroy(&trace->lock);
	free(trace->buffer);
	free(trace->spare);
	free(trace);
}

int vfb_trace_create_with(const struct vfb_sys *sys, int fd, struct vfb_trace **out)
{
	struct vfb_trace *trace = calloc(1, sizeof(*trace));
	int error;

	*out = NULL;
	if (!trace)
		return vfb_fail_memory();
	pthread_mutex_init(&trace->lock, NULL);
	pthread_cond_init(&trace->changed, NULL);
	trace->sys = sys;
	trace->fd = fd;
	trace->buffer = malloc(BUFFER_BYTES);
	trace->spare = malloc(BUFFER_BYTES);
	error = trace->buffer && trace->spare ? 0 : vfb_fail_memory();
	if (!error) {
		error = sys->thread_create(sys, "vfb-trace", NULL, run_writer, trace,
					   &trace->writer);
		if (error)
			vfb_fail_errno(error, "cannot start a thread to write the trace");
	}
	if (error) {
		free_trace(trace);
		return error;
	}
	pthread_mutex_lock(&trace->lock);
	vfb_trace_add_locked(trace,
			     "{\"name\":\"vfioboost_trace\",\"ph\":\"M\",\"pid\":0,\"tid\":0,"
			     "\"args\":{\"schema\":1,\"version\":\"%s\"}}",
			     VFB_VERSION);
	pthread_mutex_unlock(&trace->lock);
	error = vfb_trace_flush(trace);
	if (error) {
		vfb_trace_destroy(trace);
		return error;
	}
	*out = trace;
	return 0;
}

int vfb_trace_create(int fd, struct vfb_trace **out)
{
	return vfb_trace_create_with(&vfb_sys_linux, fd, out);
}

void vfb_trace_text(char *safe, size_t bytes, const char *text)
{
	size_t i;

	for (i = 0; text[i] && i + 1 < bytes; i++) {
		bool plain = text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\';

		safe[i] = plain ? text[i] : '_';
	}
	safe[i] = '\0';
}

static void name_groups(struct trace_source *source)
{
	static const char *const groups[] = {"threads", "devices", "nodes"};

	for (unsigned int i = 0; i < 3; i++)
		vfb_trace_add_locked(
			source->trace,
			"{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
			"\"args\":{\"name\":\"%s: %s\"}},\n"
			"{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
			"\"args\":{\"sort_index\":%u}}",
			source->pid + i, source->name, groups[i], source->pid + i, source->pid + i);
}

int vfb_trace_subscribe(struct vfb_trace *trace, struct vfb_ctx *ctx, const char *name,
			const struct vfb_filter *filter, struct vfb_subscription **out)
{
	struct trace_source *source = calloc(1, sizeof(*source) + NAME_BYTES);

	*out = NULL;
	if (!source)
		return vfb_fail_memory();
	vfb_trace_text(source->name, NAME_BYTES, name);
	source->trace = trace;
	source->populate_rate.begin_ns = source->map_rate.begin_ns = trace->sys->now(trace->sys);
	pthread_mutex_lock(&trace->lock);
	source->pid = 3 * trace->source_count++ + 1;
	source->next = trace->sources;
	trace->sources = source;
	name_groups(source);
	pthread_mutex_unlock(&trace->lock);
	return vfb_subscribe(ctx, filter, vfb_trace_event, source, out);
}

int vfb_trace_append(struct vfb_trace *trace, const char *json)
{
	size_t length = strlen(json);
	int error;

	if (length > BUFFER_BYTES / 2)
		return vfb_fail(-EINVAL,
				"a trace event of %zu bytes is longer than the limit of %d", length,
				BUFFER_BYTES / 2);
	pthread_mutex_lock(&trace->lock);
	trace_append_locked(trace, json, length);
	error = trace->error;
	pthread_mutex_unlock(&trace->lock);
	return trace_fail(error);
}

int vfb_trace_flush(struct vfb_trace *trace)
{
	int error;

	pthread_mutex_lock(&trace->lock);
	trace_flush_locked(trace);
	error = trace->error;
	pthread_mutex_unlock(&trace->lock);
	return trace_fail(error);
}

int vfb_trace_destroy(struct vfb_trace *trace)
{
	int error;

	if (!trace)
		return 0;
	pthread_mutex_lock(&trace->lock);
	for (struct trace_source *source = trace->sources; source; source = source->next)
		vfb_trace_write_rates_locked(source);
	trace->stopping = true;
	trace->sys->cond_broadcast(trace->sys, &trace->changed);
	pthread_mutex_unlock(&trace->lock);
	trace->sys->thread_join(trace->sys, trace->writer);
	error = trace->error;
	free_trace(trace);
	return trace_fail(error);
}
