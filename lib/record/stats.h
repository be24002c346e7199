/* SPDX-License-Identifier: MIT */
#ifndef VFB_STATS_H
#define VFB_STATS_H

#include <pthread.h>
#include <stdatomic.h>
#include <vfioboost/stats.h>

#include "observe/lanes.h"
#include "record/histogram.h"

/* Steps of one phase, operation and order of magnitude of sizes. */
struct series {
	/* Each is in cache lines of its own. */
	_Alignas(VFB_CACHE_LINE) struct series *next;
	enum vfb_phase phase;
	int decade;
	uint64_t errors, bytes;
	struct vfb_histogram durations;
	char operation[];
};

/* Sorted; there are few, and the one found last is often the next one. */
struct series_list {
	struct series *first, *recent;
};

/* The steps that ended on one CPU. */
struct stats_lane {
	/* Held for one addition only, and hardly ever wanted by two threads. */
	_Alignas(VFB_CACHE_LINE) pthread_mutex_t lock;
	struct series_list series;
};

struct vfb_stats {
	struct vfb_subscription *subscription;
	/* VFB_LANES of them. */
	struct stats_lane *lanes;
	/* Nobody counts while the lanes are added up, by the thread that has the mutex: it looks at
	 * all of them as of one moment, without holding all of their locks. */
	atomic_bool paused;
	pthread_mutex_t pause;
	/* Serializes reading: taken before the others. */
	pthread_mutex_t lock;
	/* The sums of all lanes when they were last read. */
	struct series_list sums;
};

/* Adds the lanes up, as of one moment; -ENOMEM. */
int vfb_stats_sum_locked(struct vfb_stats *stats);

#endif
