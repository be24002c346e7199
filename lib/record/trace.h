/* SPDX-License-Identifier: MIT */
#ifndef VFB_TRACE_H
#define VFB_TRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <vfioboost/trace.h>

#include "observe/lanes.h"
#include "record/id_set.h"
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
	/* The rest is the writer's: whether the groups are named; threads and devices that are.
	 * The track of a device is its index. */
	bool named;
	struct vfb_id_set threads;
	char (*devices)[16];
	size_t device_count;
	/* By node; the last one is for memory without a node. */
	uint64_t populated[65], mapped;
	struct trace_rate populate_rate, map_rate;
	char name[];
};

/* An event as it is kept until the writer formats it. */
struct trace_record {
	struct trace_source *source;
	struct vfb_event event;
	/* It is no event: the operation is the name of event.thread. */
	bool names_thread;
	/* Its parent is a job, which the thread works for. */
	bool is_of_job;
	/* What the event's pointers point to; in plain ASCII. */
	char operation[64], device[16];
};

/* The events that ended on one CPU. */
struct trace_lane {
	/* Held while a record is copied, and hardly ever wanted by two threads. */
	_Alignas(VFB_CACHE_LINE) pthread_mutex_t lock;
	struct trace_record *records;
	size_t count, room;
	/* Threads that were named from here, with the pid of their source in the upper half. */
	struct vfb_id_set threads;
};

struct vfb_trace {
	const struct vfb_sys *sys;
	int fd;
	/* VFB_LANES of them. */
	struct trace_lane *lanes;
	pthread_mutex_t lock;
	/* The last one first; none is removed. */
	struct trace_source *sources;
	unsigned int source_count;
	/* Texts of the caller, and what the writer replaces it with. */
	char *buffer, *spare;
	size_t used;
	pthread_t writer;
	pthread_cond_t changed;
	/* Number of flushes that were asked for, and of the last one that is done. */
	uint64_t flushes, flushed;
	bool stopping;
	/* The first error: nothing is written after it. */
	int error;
	/* The rest is the writer's: what it has formatted, and the records that it formats. */
	char *text;
	size_t text_used;
	struct trace_record *batch;
	size_t batch_count, batch_room;
	/* Where the next write goes; the end of the array follows it. */
	off_t offset;
	/* The array is not empty. */
	bool begun;
};

/* vfb_trace_create() with other system calls than those of the running kernel. */
int vfb_trace_create_with(const struct vfb_sys *sys, int fd, struct vfb_trace **out);

/* Ends the trace, unless an error did before. */
void vfb_trace_set_error(struct vfb_trace *trace, int error);
/* Wakes the writer; @wait: until everything up to now is written, or the trace has ended. */
void vfb_trace_wake_writer(struct vfb_trace *trace, bool wait);

/* By the writer: adds one JSON object. */
void vfb_trace_add(struct vfb_trace *trace, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Copies a string for JSON: other characters than plain ASCII become "_"; too long, it is cut off.
 */
void vfb_trace_text(char *safe, size_t bytes, const char *text);

/* Keeps an event for the writer; a vfb_event_fn whose data is a source. */
void vfb_trace_record_event(const struct vfb_event *event, void *data);
/* False if memory is exhausted. */
bool vfb_trace_lanes_create(struct vfb_trace *trace);
void vfb_trace_lanes_destroy(struct vfb_trace *trace);

/* By the writer: formats what the lanes have, in the order in which it ended. */
void vfb_trace_format_records(struct vfb_trace *trace);
/* By the writer: formats one record. */
void vfb_trace_format(const struct trace_record *record);

/* Adds the bytes of a step to the bins between its begin and its end. */
void vfb_trace_count_rate(struct trace_rate *rate, uint64_t begin_ns, uint64_t end_ns,
			  uint64_t bytes);
/* By the writer. */
void vfb_trace_write_rates(struct trace_source *source);

#endif
