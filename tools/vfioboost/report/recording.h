/* SPDX-License-Identifier: MIT */
#ifndef RECORDING_H
#define RECORDING_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * The content of a trace file, put in order. Files are as others wrote them: all texts are valid
 * UTF-8, all numbers are bounded.
 */

struct span {
	/* What it is called, its phase, and what the kernel calls it; never NULL. */
	const char *name, *phase, *operation;
	/* The device it was about, or NULL. */
	const char *device;
	/* Microseconds of the recording's clock. */
	double begin, end;
	uint64_t bytes, page_bytes;
	/* @result: 0 or -errno. */
	int result, node, cpu, thread;
	/* Where it is drawn: a position among the run's tracks. */
	uint32_t track;
};

/* A row of the timeline: a thread, a device, or the jobs. */
struct track {
	const char *name;
};

/* What one context did. */
struct run {
	/* "boost", and what the command noted about it, or NULL. */
	const char *name;
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
	/* What the doctor said of the host, or NULL. */
	struct json_object *host;
	struct run *runs;
	size_t run_count;
	/* A tree (tsearch(3)) of all texts, each once. */
	void *texts;
};

/*
 * Reads a trace file. Returns false when that fails, with the reason in @reason. Either way
 * recording_free() frees what there is.
 */
bool recording_read(struct recording *recording, const char *path, char *reason, size_t bytes);
bool recording_read_file(struct recording *recording, FILE *file, char *reason, size_t bytes);
void recording_free(struct recording *recording);

/* The span of the user's of this name, "start" for instance, or NULL. */
const struct span *recording_find(const struct run *run, const char *name);

/* Whether the span is work: not the whole of which others are parts, and not waiting. */
bool span_is_work(const struct span *span);

#endif
