/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_TRACE_H
#define KERNEL_TRACE_H

#include <json-c/json.h>
#include <stdbool.h>

/*
 * The kernel's share of what this process does, by ftrace's function_graph tracer, in an instance
 * of its own that others don't notice. What is not permitted or missing is said.
 */
struct kernel_trace {
	/* The instance's folder; "" when there is none. */
	char path[128];
	/* Why not, or what is missing. */
	char reason[320];
	/* What every user may read: before, then what the start has added. */
	struct {
		long faults, locked_kib, pinned_kib, table_pages;
	} counts;
};

/* Prepares to trace the calling thread, and those it makes from now on. */
void kernel_trace_open(struct kernel_trace *trace);

/* Begins; and counts what has been added since. */
void kernel_trace_start(struct kernel_trace *trace);
void kernel_trace_started(struct kernel_trace *trace);

/* Ends and removes the instance. What was seen, and what could not be. */
struct json_object *kernel_trace_close(struct kernel_trace *trace);

/* Prints that for a person. */
void kernel_trace_print(struct json_object *seen);

#endif
