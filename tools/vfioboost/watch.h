/* SPDX-License-Identifier: MIT */
#ifndef WATCH_H
#define WATCH_H

#include <json-c/json.h>
#include <stdbool.h>
#include <vfioboost.h>

/* What a user wants to see of a run in addition to its results. */
struct watch {
	/* The trace's file, or NULL. */
	const char *trace_path;
	/* Which phases, for the trace and the statistics; 0 for all. */
	uint64_t phases;
	bool statistics, syscalls, kernel;

	int fd;
	struct vfb_trace *trace;
	/* How many contexts were written to the trace. */
	unsigned int contexts;
	/* For the context that is running. */
	struct vfb_subscription *subscription;
	struct vfb_stats *stats;
};

/* Begins what was requested. All return 0, or an error that has been printed. */
int watch_open(struct watch *watch);

/* Watches a context that was just created; @name names its tracks. */
int watch_begin(struct watch *watch, struct vfb_ctx *ctx, const char *name);

/* Records a span that the library could not see, in nanoseconds of CLOCK_MONOTONIC. */
void watch_span(struct watch *watch, enum vfb_phase phase, const char *name, uint64_t begin,
		uint64_t end);

/* Records facts under a name, for `vfioboost report`; takes the object. */
void watch_facts(struct watch *watch, const char *name, struct json_object *facts);

/* The statistics, an array; NULL if they were not requested. */
struct json_object *watch_statistics(struct watch *watch);

/* Stops watching the context, before it is destroyed. */
void watch_end(struct watch *watch);

/* Ends the trace; if it could not be written, its file is removed. */
int watch_close(struct watch *watch);

/* Prints the result of watch_statistics(). */
void watch_print_statistics(struct json_object *statistics);

#endif
