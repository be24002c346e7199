/* SPDX-License-Identifier: MIT */
#ifndef LOOKUP_H
#define LOOKUP_H

#include <pthread.h>
#include <stdatomic.h>
#include <vfioboost.h>

/* Looking addresses up in a space, and in an array under a reader-writer lock. */

struct lookup_range {
	uint64_t iova, bytes;
	char *address;
};

/* What is looked up: a space, and the same ranges in order, guarded by the lock. */
struct lookup_table {
	struct vfb_space *space;
	pthread_rwlock_t lock;
	struct lookup_range *ranges;
	size_t count;
	/* Random IOVAs within the ranges. */
	uint64_t *wanted;
	size_t wanted_count;
};

enum lookup_way {
	/* vfb_space_translate(), one lookup beside the other as the CPU can. */
	LOOKUP_SPACE,
	/* Each one waits for what the last one found. */
	LOOKUP_SPACE_CHAINED,
	/* The array, under the lock. */
	LOOKUP_LOCK,
};

/*
 * Looks addresses up for @seconds in @readers threads, each on the CPU of its number among @cpus.
 * Returns the nanoseconds that a lookup took in a reader, 0 when it could not be done: CPU time in
 * a space, where nothing waits, and elapsed time under the lock.
 */
double lookup_ns(struct lookup_table *table, enum lookup_way way, unsigned int readers,
		 const int *cpus, double seconds);

/* What of the array takes the place of an update: takes a range out and puts it back. */
void lookup_change(struct lookup_table *table);

#endif
