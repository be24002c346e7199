/* SPDX-License-Identifier: MIT */
#ifndef VFB_TRACE_H
#define VFB_TRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <vfioboost/trace.h>

#include "sys/sys.h"

#define TRACE_RATE_BINS 1024

/* The bytes of the steps of a phase over time. Bins become longer as time passes. */
struct trace_rate {
	uint64_t begin_ns, bin_ns;
	uint64_t bins[TRACE_RATE_BINS];
};

/* The three groups of tracks of one subscription. */
struct trace_source {
	struct trace_source *next;
	struct vfb_trace *trace;
	/* The first of the three process IDs that identify the groups in viewers. */
	unsigned int pid;
	/* Threads and devices that are already named. The track of a device is its index. */
	int *threads;
	size_t thread_count;
	char (*devices)[16];
	size_t device_count;
	/* By node; the last one is for memory without a node. */
	uint64_t populated[65], mapped;
	struct trace_rate populate_rate, map_rate;
	char name[];
};

struct vfb_trace {
	const struct vfb_sys *sys;
	int fd;
	pthread_mutex_t lock;
	struct trace_source *sources;
	unsigned int source_count;
	/* One is filled while a thread writes the other, so that a slow disk does not delay work.
	 */
	char *buffer, *spare;
	size_t used;
	pthread_t writer;
	pthread_cond_t changed;
	bool writing, flush, stopping;
	/* Where the next write goes; the end of the array follows it. */
	off_t offset;
	/* The array is not empty. */
	bool begun;
	/* The first error: nothing is written after it. */
	int error;
};

/* vfb_trace_create() with other system calls than those of the running kernel. */
int vfb_trace_create_with(const struct vfb_sys *sys, int fd, struct vfb_trace **out);

/* Adds one JSON object. */
void vfb_trace_add_locked(struct vfb_trace *trace, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Copies a string for JSON: other characters than plain ASCII become "_"; too long, it is cut off.
 */
void vfb_trace_text(char *safe, size_t bytes, const char *text);

/* Writes one event to the trace of a source; a vfb_event_fn. */
void vfb_trace_event(const struct vfb_event *event, void *data);

/* Adds the bytes of a step to the bins between its begin and its end. */
void vfb_trace_count_rate(struct trace_rate *rate, uint64_t begin_ns, uint64_t end_ns,
			  uint64_t bytes);
void vfb_trace_write_rates_locked(struct trace_source *source);

#endif
