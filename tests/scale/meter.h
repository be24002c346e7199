/* SPDX-License-Identifier: MIT */
/*
 * What the library itself takes: a table of system calls before another one. The time of a thread
 * counts from the return of one call to the next call, so that what the kernel, or its model, does
 * is left out; and so are its mutexes and its memory.
 */
#ifndef SCALE_METER_H
#define SCALE_METER_H

#include "sys/sys.h"

struct meter_counts {
	/* CPU time of all threads; the system calls that it is between. */
	uint64_t cpu_ns, calls;
	/* Mutexes taken, and those that were waited for. */
	uint64_t locks, waits;
	/* Conditions that were signalled, or broadcast. */
	uint64_t wakes;
	uint64_t threads;
	/* Steps of populating and calls of mincore(2). */
	uint64_t steps, looks;
	/* Calls of malloc() and the like; the bytes now, and the most there were. */
	uint64_t allocations, bytes, most_bytes;
};

/*
 * @quick: populating, mincore(2) and map calls do nothing and are not timed: their number makes it
 * impossible to time each. What they cost is then the library's.
 */
const struct vfb_sys *meter_create(const struct vfb_sys *inner, bool quick);

/* The calling thread is in the library, or no longer. Threads of the table are at once. */
void meter_begin(void);
void meter_end(void);

/* So far. The other threads must be idle. */
struct meter_counts meter_read(void);
/* The difference, but the memory of @now. */
struct meter_counts meter_since(const struct meter_counts *now, const struct meter_counts *before);

#endif
