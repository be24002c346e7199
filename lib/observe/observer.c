/* SPDX-License-Identifier: MIT */
#include "observe/observer.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <urcu-bp.h>

#include "observe/error.h"

struct vfb_subscription {
	struct vfb_observer *observer;
	vfb_event_fn fn;
	void *data;
};

/*
 * The list is never changed, only replaced. A thread that emits takes a reference inside of a
 * read section, and calls the subscribers outside of it, so that a slow callback holds up
 * nobody's grace period. Whoever replaces the list waits for the grace period, after which no
 * new reference can be taken, and then for the references.
 */
struct subscriber_list {
	atomic_uint references;
	size_t count;
	struct vfb_subscription *subscriptions[];
};

int vfb_observer_init(struct vfb_observer *observer, const struct vfb_sys *sys)
{
	observer->sys = sys;
	atomic_init(&observer->list, NULL);
	return -pthread_mutex_init(&observer->lock, NULL);
}

void vfb_observer_destroy(struct vfb_observer *observer)
{
	pthread_mutex_destroy(&observer->lock);
}

void vfb_observe_end(struct vfb_observer *observer, uint64_t begin, struct vfb_event event)
{
	const struct vfb_sys *sys = observer->sys;
	struct subscriber_list *list;

	if (!begin)
		return;
	event.size = sizeof(event);
	event.start_ns = begin;
	event.duration_ns = sys->now(sys) - begin;
	event.cpu = sys->current_cpu(sys);
	event.thread = sys->current_thread(sys);

	urcu_bp_read_lock();
	list = atomic_load_explicit(&observer->list, memory_order_acquire);
	if (list)
		atomic_fetch_add_explicit(&list->references, 1, memory_order_relaxed);
	urcu_bp_read_unlock();
	if (!list)
		return;
	for (size_t i = 0; i < list->count; i++)
		list->subscriptions[i]->fn(&event, list->subscriptions[i]->data);
	atomic_fetch_sub_explicit(&list->references, 1, memory_order_release);
}

/* Called with the lock held; @list may be NULL. */
static void replace_list(struct vfb_observer *observer, struct subscriber_list *list)
{
	struct subscriber_list *old;

	old = atomic_exchange_explicit(&observer->list, list, memory_order_acq_rel);
	if (!old)
		return;
	urcu_bp_synchronize_rcu();
	while (atomic_load_explicit(&old->references, memory_order_acquire))
		sched_yield();
	free(old);
}

static struct subscriber_list *allocate_list(size_t count)
{
	struct subscriber_list *list;

	list = malloc(sizeof(*list) + count * sizeof(struct vfb_subscription *));
	if (!list)
		return NULL;
	atomic_init(&list->references, 0);
	list->count = 0;
	return list;
}

int vfb_observer_subscribe(struct vfb_observer *observer, vfb_event_fn fn, void *data,
			   struct vfb_subscription **out)
{
	struct subscriber_list *old, *list;
	struct vfb_subscription *subscription;

	*out = NULL;
	if (!fn)
		return vfb_fail(-EINVAL, "a subscription needs a function to call, it is NULL");
	subscription = malloc(sizeof(*subscription));
	if (!subscription)
		return vfb_fail_memory();
	*subscription = (struct vfb_subscription){observer, fn, data};

	pthread_mutex_lock(&observer->lock);
	old = atomic_load(&observer->list);
	list = allocate_list((old ? old->count : 0) + 1);
	if (list) {
		for (size_t i = 0; old && i < old->count; i++)
			list->subscriptions[list->count++] = old->subscriptions[i];
		list->subscriptions[list->count++] = subscription;
		replace_list(observer, list);
	}
	pthread_mutex_unlock(&observer->lock);
	if (!list) {
		free(subscription);
		return vfb_fail_memory();
	}
	*out = subscription;
	return 0;
}

struct vfb_observer *vfb_observer_unsubscribe(struct vfb_subscription *subscription)
{
	struct vfb_observer *observer = subscription->observer;
	struct subscriber_list *old, *list = NULL;

	pthread_mutex_lock(&observer->lock);
	old = atomic_load(&observer->list);
	if (old->count > 1) {
		/* Unsubscribing cannot fail: without memory, wait until there is some. */
		while (!(list = allocate_list(old->count - 1)))
			sched_yield();
		for (size_t i = 0; i < old->count; i++)
			if (old->subscriptions[i] != subscription)
				list->subscriptions[list->count++] = old->subscriptions[i];
	}
	replace_list(observer, list);
	pthread_mutex_unlock(&observer->lock);
	free(subscription);
	return observer;
}

const char *vfb_phase_name(enum vfb_phase phase)
{
	switch (phase) {
	case VFB_PHASE_ATTACH:
		return "attach";
	case VFB_PHASE_OPEN:
		return "open";
	case VFB_PHASE_POPULATE:
		return "populate";
	case VFB_PHASE_MAP:
		return "map";
	case VFB_PHASE_UNMAP:
		return "unmap";
	case VFB_PHASE_CLOSE:
		return "close";
	}
	return "unknown";
}
