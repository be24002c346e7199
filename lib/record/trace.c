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
static const char beginning[] = "{\"name\":\"vfioboost_trace\",\"ph\":\"M\",\"pid\":0,\"tid\":0,"
				"\"args\":{\"schema\":1,\"version\":\"" VFB_VERSION "\"}}";

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

void vfb_trace_set_error(struct vfb_trace *trace, int error)
{
	pthread_mutex_lock(&trace->lock);
	if (!trace->error)
		trace->error = error;
	pthread_mutex_unlock(&trace->lock);
}

/* By the writer. The next write overwrites the end of the array. @text has room for it. */
static void trace_write(struct vfb_trace *trace, char *text, size_t used)
{
	bool ended;
	int error;

	pthread_mutex_lock(&trace->lock);
	ended = trace->error;
	pthread_mutex_unlock(&trace->lock);
	if (ended || !used)
		return;
	/* The array begins instead of going on. */
	if (!trace->begun)
		text[0] = '[';
	memcpy(text + used, end, sizeof(end) - 1);
	error = write_all(trace, text, used + sizeof(end) - 1);
	if (error)
		vfb_trace_set_error(trace, error);
	trace->begun = true;
	trace->offset += used;
}

/* Adds ",\n" and the text. False: there is no room. */
static bool text_add(char *buffer, size_t *used, const char *json, size_t length)
{
	if (*used + 2 + length + sizeof(end) > BUFFER_BYTES)
		return false;
	buffer[(*used)++] = ',';
	buffer[(*used)++] = '\n';
	memcpy(buffer + *used, json, length);
	*used += length;
	return true;
}

void vfb_trace_add(struct vfb_trace *trace, const char *format, ...)
{
	char json[EVENT_BYTES];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(json, sizeof(json), format, args);
	va_end(args);
	/* Names were truncated before, and everything else has a bounded length. */
	if (length <= 0 || (size_t)length >= sizeof(json))
		return;
	if (text_add(trace->text, &trace->text_used, json, length))
		return;
	trace_write(trace, trace->text, trace->text_used);
	trace->text_used = 0;
	text_add(trace->text, &trace->text_used, json, length);
}

static void name_groups(struct trace_source *source)
{
	static const char *const groups[] = {"threads", "devices", "nodes"};

	for (unsigned int i = 0; i < 3; i++)
		vfb_trace_add(source->trace,
			      "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
			      "\"args\":{\"name\":\"%s: %s\"}},\n"
			      "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
			      "\"args\":{\"sort_index\":%u}}",
			      source->pid + i, source->name, groups[i], source->pid + i,
			      source->pid + i);
	source->named = true;
}

/* Writes what there is, without the lock. @last: no more events come. */
static void write_everything(struct vfb_trace *trace, struct trace_source *sources, size_t texts,
			     bool last)
{
	trace_write(trace, trace->spare, texts);
	for (struct trace_source *source = sources; source; source = source->next)
		if (!source->named)
			name_groups(source);
	vfb_trace_format_records(trace);
	for (struct trace_source *source = sources; source && last; source = source->next)
		vfb_trace_write_rates(source);
	trace_write(trace, trace->text, trace->text_used);
	trace->text_used = 0;
}

static void *run_writer(void *arg)
{
	struct vfb_trace *trace = arg;
	const struct vfb_sys *sys = trace->sys;
	bool last = false;

	pthread_mutex_lock(&trace->lock);
	while (!last) {
		uint64_t next = sys->now(sys) + FLUSH_NS, flush;
		struct trace_source *sources;
		char *texts = trace->buffer;
		size_t used;
		int timeout = 0;

		while (!trace->stopping && trace->flushes == trace->flushed && !timeout)
			timeout = sys->cond_wait(sys, &trace->changed, &trace->lock, next);
		last = trace->stopping;
		flush = trace->flushes;
		sources = trace->sources;
		used = trace->used;
		trace->buffer = trace->spare;
		trace->spare = texts;
		trace->used = 0;
		pthread_mutex_unlock(&trace->lock);
		write_everything(trace, sources, used, last);
		pthread_mutex_lock(&trace->lock);
		trace->flushed = flush;
		sys->cond_broadcast(sys, &trace->changed);
	}
	pthread_mutex_unlock(&trace->lock);
	return NULL;
}

/* Waits until everything that was added has been written. */
static void trace_flush_locked(struct vfb_trace *trace)
{
	const struct vfb_sys *sys = trace->sys;
	uint64_t flush = ++trace->flushes;

	sys->cond_broadcast(sys, &trace->changed);
	while (trace->flushed < flush)
		sys->cond_wait(sys, &trace->changed, &trace->lock, UINT64_MAX);
}

void vfb_trace_wake_writer(struct vfb_trace *trace, bool wait)
{
	pthread_mutex_lock(&trace->lock);
	if (wait) {
		trace_flush_locked(trace);
	} else {
		trace->flushes++;
		trace->sys->cond_broadcast(trace->sys, &trace->changed);
	}
	pthread_mutex_unlock(&trace->lock);
}

static void trace_append_locked(struct vfb_trace *trace, const char *json, size_t length)
{
	while (!text_add(trace->buffer, &trace->used, json, length))
		trace_flush_locked(trace);
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
		vfb_id_set_free(&source->threads);
		free(source->devices);
		free(source);
	}
	pthread_cond_destroy(&trace->changed);
	pthread_mutex_destroy(&trace->lock);
	free(trace->buffer);
	free(trace->spare);
	free(trace->text);
	free(trace->batch);
	vfb_trace_lanes_destroy(trace);
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
	trace->text = malloc(BUFFER_BYTES);
	error = 0;
	if (!trace->buffer || !trace->spare || !trace->text || !vfb_trace_lanes_create(trace))
		error = vfb_fail_memory();
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
	error = vfb_trace_append(trace, beginning);
	if (!error)
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
	pthread_mutex_unlock(&trace->lock);
	return vfb_subscribe(ctx, filter, vfb_trace_record_event, source, out);
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
	trace->stopping = true;
	trace->sys->cond_broadcast(trace->sys, &trace->changed);
	pthread_mutex_unlock(&trace->lock);
	trace->sys->thread_join(trace->sys, trace->writer);
	error = trace->error;
	free_trace(trace);
	return trace_fail(error);
}
