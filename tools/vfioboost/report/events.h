/* SPDX-License-Identifier: MIT */
#ifndef EVENTS_H
#define EVENTS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The longest event that is read. The library writes none of more than 64 KiB. */
#define MAX_EVENT_BYTES (1 << 20)

/* The events of a trace file, which is one array, read one by one: the file may be large. */
struct events {
	FILE *file;
	struct json_tokener *tokener;
	char buffer[1 << 16];
	/* What is in the buffer and not yet read; and how many bytes of the file came before it. */
	size_t begin, end;
	uint64_t offset;
	/* How many events have been read. */
	size_t count;
	/* Why no more can be read, or "". */
	char *reason;
	size_t reason_bytes;
};

/* @reason: where the reason of a failure is written; "" before. False: out of memory. */
bool events_open(struct events *events, FILE *file, char *reason, size_t bytes);
void events_close(struct events *events);

/* The next one, to be put; NULL at the end, or after a failure, when events.reason is set. */
struct json_object *events_next(struct events *events);

/* Writes the reason of a failure, and returns false. */
bool events_refuse(struct events *events, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
