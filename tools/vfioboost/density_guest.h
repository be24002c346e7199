/* SPDX-License-Identifier: MIT */
#ifndef DENSITY_GUEST_H
#define DENSITY_GUEST_H

#include <stdbool.h>
#include <vfioboost.h>

/* A guest of vfioboost bench density: a process that works with a part of its memory. */
struct density_options {
	uint64_t bytes, request_bytes;
	/* Where the requests of its working set begin. */
	const uint64_t *offsets;
	size_t request_count;
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	unsigned int threads;
	bool memfd;
};

#define DENSITY_REASON_BYTES 256

/* In memory that the guest shares with the process that started it. */
struct density_report {
	/* Until the memory can be used by a device, and the first pass over the working set. */
	double start_s, first_s;
	/* What it has populated after the first pass. */
	uint64_t populated_bytes;
	/* Of a measurement: when it ends, as of clock_seconds(), and the bytes that were written.
	 */
	double deadline;
	uint64_t written_bytes;
	/* 0, or the error that it ended with, and its text. */
	int error;
	char reason[DENSITY_REASON_BYTES];
};

/*
 * Starts at the first step; works until the deadline at each further one. @window: of its memory, 0
 * to map it statically; @device: NULL for none. Returns the exit status of the process.
 */
int density_guest(const struct density_options *options, uint32_t window, const char *device,
		  int fd, struct density_report *report);

#endif
