/* SPDX-License-Identifier: MIT */
#include "memory/pace.h"

#include <stdlib.h>

#include "engine/job.h"
#include "observe/error.h"

/* How often a cancelled job or a changed rate is noticed. */
#define LOOK_NS UINT64_C(20000000)
/* How much delay may be caught up, since sleeping always takes a little longer. */
#define BURST_NS UINT64_C(20000000)

int vfb_pace_create(const struct vfb_sys *sys, struct vfb_pace **out)
{
	struct vfb_pace *pace = calloc(1, sizeof(*pace));

	if (!pace)
		return vfb_fail_memory();
	pace->sys = sys;
	pthread_mutex_init(&pace->lock, NULL);
	atomic_init(&pace->bytes_per_s, UINT64_MAX);
	*out = pace;
	return 0;
}

void vfb_pace_destroy(struct vfb_pace *pace)
{
	if (!pace)
		return;
	pthread_mutex_destroy(&pace->lock);
	free(pace);
}

void vfb_pace_set(struct vfb_pace *pace, uint64_t bytes_per_s)
{
	pthread_mutex_lock(&pace->lock);
	atomic_store(&pace->bytes_per_s, bytes_per_s);
	/* The old rate delays nobody any more. */
	pace->next_ns = 0;
	pthread_mutex_unlock(&pace->lock);
}

/* Reserves a step of @bytes. Returns 0, or how long to wait before trying again. */
static uint64_t take_turn(struct vfb_pace *pace, uint64_t bytes)
{
	uint64_t now, wait = 0;

	pthread_mutex_lock(&pace->lock);
	if (vfb_pace_is_limited(pace)) {
		now = pace->sys->now(pace->sys);
		if (pace->next_ns > now)
			wait = pace->next_ns - now;
		else if (now - pace->next_ns > BURST_NS)
			pace->next_ns = now;
		if (!wait)
			pace->next_ns += (uint64_t)(1e9 * bytes / atomic_load(&pace->bytes_per_s));
	}
	pthread_mutex_unlock(&pace->lock);
	return wait;
}

void vfb_pace_wait_limited(struct vfb_pace *pace, uint64_t bytes, struct vfb_job *job)
{
	uint64_t wait;

	while (!vfb_job_stopped(job) && (wait = take_turn(pace, bytes)))
		pace->sys->sleep(pace->sys, wait < LOOK_NS ? wait : LOOK_NS);
}
