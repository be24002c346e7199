/* SPDX-License-Identifier: MIT */
#ifndef VFB_OBSERVER_H
#define VFB_OBSERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <vfioboost/event.h>

#include "sys/sys.h"

struct subscriber_list;

/* The subscribers of one context. */
struct vfb_observer {
	const struct vfb_sys *sys;
	/* Taken by those who change the list. */
	pthread_mutex_t lock;
	/* NULL when there is none: then nothing is measured. */
	struct subscriber_list *_Atomic list;
};

int vfb_observer_init(struct vfb_observer *observer, const struct vfb_sys *sys);
void vfb_observer_destroy(struct vfb_observer *observer);

/* The time at the beginning of a step, 0 when nobody wants to know. */
static inline uint64_t vfb_observe_begin(const struct vfb_observer *observer)
{
	if (!atomic_load_explicit(&observer->list, memory_order_relaxed))
		return 0;
	return observer->sys->now(observer->sys);
}

/*
 * Tells the subscribers of a step that began at @begin; its times, CPU and thread are filled in.
 * Nothing happens when @begin is 0.
 */
void vfb_observe_end(struct vfb_observer *observer, uint64_t begin, struct vfb_event event);

int vfb_observer_subscribe(struct vfb_observer *observer, vfb_event_fn fn, void *data,
			   struct vfb_subscription **out);
/* As vfb_unsubscribe(); returns the observer it belonged to. */
struct vfb_observer *vfb_observer_unsubscribe(struct vfb_subscription *subscription);

#endif
