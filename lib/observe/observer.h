/* SPDX-License-Identifier: MIT */
#ifndef VFB_OBSERVER_H
#define VFB_OBSERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfioboost/event.h>

#include "sys/sys.h"

struct subscriber_list;

/* The subscribers of one context. */
struct vfb_observer {
	const struct vfb_sys *sys;
	/* The phases that any subscriber wants: nothing is measured for the others. */
	atomic_uint_fast64_t wanted;
	atomic_uint_fast64_t last_id;
	/* Taken by those who change the list. */
	pthread_mutex_t lock;
	/* NULL when there is none. */
	struct subscriber_list *_Atomic list;
};

int vfb_observer_init(struct vfb_observer *observer, const struct vfb_sys *sys);
void vfb_observer_destroy(struct vfb_observer *observer);

/* As vfb_subscribe(), the filter being read. */
int vfb_observer_subscribe(struct vfb_observer *observer, const struct vfb_filter *filter,
			   vfb_event_fn fn, void *data, struct vfb_subscription **out);
/* As vfb_unsubscribe(); returns the observer it belonged to. */
struct vfb_observer *vfb_observer_unsubscribe(struct vfb_subscription *subscription);

/* Calls the subscribers that want the event. What happens in their callbacks is not reported. */
void vfb_observer_tell(struct vfb_observer *observer, const struct vfb_event *event);

/* Nothing may wait in a callback: fails with -EDEADLK there. */
int vfb_observe_check_wait(void);
bool vfb_observe_in_callback(void);

#endif
