/* SPDX-License-Identifier: MIT */
#ifndef VFB_STATS_H
#define VFB_STATS_H

#include <pthread.h>
#include <vfioboost/stats.h>

#include "record/histogram.h"

/* Steps of one phase, operation and order of magnitude of sizes. */
struct series {
	struct series *next;
	enum vfb_phase phase;
	int decade;
	uint64_t errors, bytes;
	struct vfb_histogram durations;
	char operation[];
};

struct vfb_stats {
	struct vfb_subscription *subscription;
	/* Held for one addition only, which takes a thousandth of the time of a step. */
	pthread_mutex_t lock;
	/* Sorted; there are few, and the one found last is often the next one. */
	struct series *series, *recent;
};

#endif
