/* SPDX-License-Identifier: MIT */
#ifndef VFB_PACE_H
#define VFB_PACE_H

#include <pthread.h>
#include <stdatomic.h>

#include "sys/sys.h"

struct vfb_job;

/* The rate at which all workers of a context together may populate. */
struct vfb_pace {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	/* UINT64_MAX: no limit, and the clock is not read. */
	atomic_uint_fast64_t bytes_per_s;
	/* When the next step may begin. */
	uint64_t next_ns;
};

int vfb_pace_create(const struct vfb_sys *sys, struct vfb_pace **out);
void vfb_pace_destroy(struct vfb_pace *pace);
void vfb_pace_set(struct vfb_pace *pace, uint64_t bytes_per_s);

static inline bool vfb_pace_is_limited(struct vfb_pace *pace)
{
	return atomic_load_explicit(&pace->bytes_per_s, memory_order_relaxed) != UINT64_MAX;
}

/* The slow part of vfb_pace_wait(). */
void vfb_pace_wait_limited(struct vfb_pace *pace, uint64_t bytes, struct vfb_job *job);

/* Waits until @bytes more may be populated or the job is stopped. Without a limit, workers share no
 * lock. */
static inline void vfb_pace_wait(struct vfb_pace *pace, uint64_t bytes, struct vfb_job *job)
{
	if (vfb_pace_is_limited(pace))
		vfb_pace_wait_limited(pace, bytes, job);
}

#endif
