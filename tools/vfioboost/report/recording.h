/* SPDX-License-Identifier: MIT */
#ifndef RECORDING_H
#define RECORDING_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a trace file tells, put in order. Strings belong to the file's JSON. */

struct span {
	/* What it is called, its phase, and what the kernel calls it; never NULL. */
	const char *name, *phase, *operation;
	/* The device it was about, or NULL. */
	const char *device;
	/* Microseconds of the recording's clock. */
	double begin, end;
	uint64_t id, parent, bytes, page_bytes;
	int result, node, cpu, thread;
	/* Where it is drawn: a position among the run's tracks. */
	size_t track;
};

/* A row of the timeline: a thread, a device, or the jobs. */
struct track {
	const char *name;
	unsigned int pid;
	int tid;
};

/* What one context did. */
struct run {
	/* "boost", and what the command noted about it, or NULL. */
	char name[64];
	struct json_object *facts;
	/* The first of its three groups of tracks. */
	unsigned int pid;
	/* When its first span began and its last one ended. */
	double begin, end;
	struct track *tracks;
	size_t track_count;
	struct span *spans;
	size_t span_count;
};

struct recording {
	struct json_object *file;
	/* What the doctor said of the host, or NULL. */
	struct json_object *host;
	struct run *runs;
	size_t run_count;
};

/*
 * Reads a trace file. Returns false when that is none, with the reason in @reason. Either way
 * recording_free() frees what there is.
 */
bool recording_read(struct recording *recording, const char *path, char *reason, size_t bytes);
void recording_free(struct recording *recording);

/* The span of the user's of this name, "start" for instance, or NULL. */
const struct span *recording_find(const struct run *run, const char *name);

/* Whether the span is work: not the whole of which others are parts, and not waiting. */
bool span_is_work(const struct span *span);

#endif
