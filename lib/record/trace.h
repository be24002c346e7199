/* SPDX-License-Identifier: MIT */
#ifndef VFB_TRACE_H
#define VFB_TRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <vfioboost/trace.h>

#include "sys/sys.h"

/* What one subscription writes about: its three groups of tracks. */
struct trace_source {
	struct trace_source *next;
	struct vfb_trace *trace;
	/* The first of the three numbers that viewers know the groups by. */
	unsigned int pid;
	/* Threads and devices that have a name already; a device's track is its position. */
	int *threads;
	size_t thread_count;
	char (*devices)[16];
	size_t device_count;
	/* By node; the last is for memory of any node. */
	uint64_t populated[65], mapped;
	char name[];
};

struct vfb_trace {
	const struct vfb_sys *sys;
	int fd;
	pthread_mutex_t lock;
	struct trace_source *sources;
	unsigned int source_count;
	/* Fills up while the other one is written, by a thread: a slow disk holds up no work. */
	char *buffer, *spare;
	size_t used;
	pthread_t writer;
	pthread_cond_t changed;
	bool writing, flush, stopping;
	/* What comes next in the file is at @offset; it is followed by the end of the array. */
	off_t offset;
	/* Something was added already. */
	bool begun;
	/* Nothing is written any more. */
	int error;
};

/* vfb_trace_create() over other system calls than the running kernel's. */
int vfb_trace_create_with(const struct vfb_sys *sys, int fd, struct vfb_trace **out);

/* Called with the trace's lock held: adds one JSON object. */
void vfb_trace_add(struct vfb_trace *trace, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Copies what can stand between quotes in JSON; the rest becomes "_", or is cut off. */
void vfb_trace_text(char *safe, size_t bytes, const char *text);

/* Writes one event to the trace of a source; a vfb_event_fn. */
void vfb_trace_event(const struct vfb_event *event, void *source);

#endif
