/* SPDX-License-Identifier: MIT */
#ifndef STARTS_GUEST_H
#define STARTS_GUEST_H

#include <vfioboost.h>

/* A guest of vfioboost bench starts: a process that starts and stops when it is told to. */
struct starts_options {
	uint64_t bytes;
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	unsigned int threads;
};

/* What is timed in each guest. */
enum starts_time {
	STARTS_CONTEXT,
	STARTS_MEMORY,
	STARTS_OPEN,
	STARTS_MAP,
	STARTS_START,
	STARTS_UNMAP,
	STARTS_CLOSE,
	STARTS_DESTROY,
	STARTS_STOP,
	STARTS_TIMES,
};

#define STARTS_CALLS	  64
#define STARTS_CALL_BYTES 40

/* System calls of one name. */
struct starts_call {
	char name[STARTS_CALL_BYTES];
	uint64_t count;
	double seconds;
};

/* In memory that the guest shares with the process that started it. */
struct starts_report {
	double seconds[STARTS_TIMES];
	/* CPU time of the process, for both. */
	double cpu_s;
	struct starts_call calls[STARTS_CALLS];
	size_t call_count;
};

/* Adds to the call of that name. */
void starts_add_call(struct starts_report *report, const char *name, uint64_t count,
		     double seconds);

/*
 * Starts when a byte can be read from @fd, writes one when it has started, stops after the next
 * one, writes another, and returns the exit status of the process. @device: NULL for none.
 */
int starts_guest(const struct starts_options *options, const char *device, int fd,
		 struct starts_report *report);

#endif
