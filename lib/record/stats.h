/* SPDX-License-Identifier: MIT */
#ifndef VFB_STATS_H
#define VFB_STATS_H

#include <pthread.h>
#include <vfioboost/stats.h>

#include "record/histogram.h"

/* Steps of one phase, operation and decade of sizes. */
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
	/* Held for the time of an addition: events take a thousand times as long to happen. */
	pthread_mutex_t lock;
	/* In order; there are few, and the last one found is often the next one. */
	struct series *series, *recent;
};

#endif
