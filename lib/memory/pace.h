/* SPDX-License-Identifier: MIT */
#ifndef VFB_PACE_H
#define VFB_PACE_H

#include <pthread.h>

#include "sys/sys.h"

struct vfb_job;

/* The rate at which all workers of a context together may populate. */
struct vfb_pace {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	/* UINT64_MAX: no limit, and the clock is not read. */
	uint64_t bytes_per_s;
	/* When the next step may begin. */
	uint64_t next_ns;
};

int vfb_pace_create(const struct vfb_sys *sys, struct vfb_pace **out);
void vfb_pace_destroy(struct vfb_pace *pace);
void vfb_pace_set(struct vfb_pace *pace, uint64_t bytes_per_s);

/* Waits until @bytes more may be populated or the job is stopped. */
void vfb_pace_wait(struct vfb_pace *pace, uint64_t bytes, struct vfb_job *job);

#endif
