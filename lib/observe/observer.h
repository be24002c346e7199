/* SPDX-License-Identifier: MIT */
#ifndef VFB_OBSERVER_H
#define VFB_OBSERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfioboost/event.h>

#include "observe/lanes.h"
#include "sys/sys.h"

struct subscriber_list;

/* The subscribers of one context. */
struct vfb_observer {
	const struct vfb_sys *sys;
	/* The process that made it. */
	int process;
	/* The phases that any subscriber wants. Others are not measured. */
	atomic_uint_fast64_t wanted;
	/* NULL if there are no subscribers. */
	struct subscriber_list *_Atomic list;
	/* Of events: how many began on each CPU. */
	struct vfb_counter_lane *ids;
	/* What follows is written now and then, what precedes is read for each event. */
	char apart[VFB_CACHE_LINE];
	/* Serializes changes of the list. */
	pthread_mutex_t lock;
	uint64_t last_serial;
	/* Subscriptions that have ended but may be in use. */
	struct vfb_subscription *ended;
};

/* -ENOMEM. */
int vfb_observer_init(struct vfb_observer *observer, const struct vfb_sys *sys);
/* Also one that is all zero, or could not be initialized. */
void vfb_observer_destroy(struct vfb_observer *observer);

/* An ID for a step: unique, not 0. */
uint64_t vfb_observer_new_id(struct vfb_observer *observer);

/* As vfb_subscribe(), with a filter of this version. */
int vfb_observer_subscribe(struct vfb_observer *observer, const struct vfb_filter *filter,
			   vfb_event_fn fn, void *data, struct vfb_subscription **out);
/* As vfb_unsubscribe(); returns the observer. */
struct vfb_observer *vfb_observer_unsubscribe(struct vfb_subscription *subscription);

/* Calls the subscribers that want the event. Steps in their callbacks are not reported. */
void vfb_observer_report(struct vfb_observer *observer, const struct vfb_event *event);

/* Fails with -EDEADLK in a callback, which must not wait. */
int vfb_observe_check_wait(void);
/*
 * Fails with -ECHILD in a child of the process that made the observer: the threads are the
 * parent's, and so is what its file descriptors stand for.
 */
int vfb_observer_check_process(const struct vfb_observer *observer);
bool vfb_observe_in_callback(void);

#endif
