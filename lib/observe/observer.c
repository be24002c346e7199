/* SPDX-License-Identifier: MIT */
#include "observe/observer.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <urcu-bp.h>

#include "observe/error.h"

struct vfb_subscription {
	struct vfb_observer *observer;
	struct vfb_filter filter;
	vfb_event_fn fn;
	void *data;
	/* One for each list that contains it, and one for the subscriber. */
	atomic_uint references;
	/* Set first when it ends; after that, no call of the function begins that is not counted
	 * in @running yet. */
	atomic_bool ended;
	atomic_uint running;
};

/*
 * The list is replaced, not modified (RCU). A thread that reports an event takes a reference in a
 * read-side critical section and calls the subscribers outside of it, so that a slow callback
 * delays no grace period. The thread that replaces the list waits for a grace period, after which
 * no new reference can be taken, and drops the observer's. The last one to drop a reference frees
 * the list.
 */
struct subscriber_list {
	atomic_uint references;
	size_t count;
	struct vfb_subscription *subscriptions[];
};

/* Nesting level of callbacks in this thread. */
static _Thread_local unsigned int callbacks;

bool vfb_observe_in_callback(void)
{
	return callbacks;
}

int vfb_observe_check_wait(void)
{
	if (!callbacks)
		return 0;
	return vfb_fail(-EDEADLK, "a callback of a subscriber must not wait, since it could wait "
				  "for its own thread: start a job and wait for it elsewhere");
}

int vfb_observer_check_process(const struct vfb_observer *observer)
{
	int process = observer->sys->process_id(observer->sys);

	if (process == observer->process)
		return 0;
	return vfb_fail(-ECHILD,
			"process %d is a child of %d, which created the context: create one here, "
			"or leave it to the parent",
			process, observer->process);
}

int vfb_observer_init(struct vfb_observer *observer, const struct vfb_sys *sys)
{
	observer->sys = sys;
	observer->process = sys->process_id(sys);
	atomic_init(&observer->wanted, 0);
	atomic_init(&observer->last_id, 0);
	atomic_init(&observer->list, NULL);
	return -pthread_mutex_init(&observer->lock, NULL);
}

void vfb_observer_destroy(struct vfb_observer *observer)
{
	pthread_mutex_destroy(&observer->lock);
}

static void drop_subscription(struct vfb_subscription *subscription)
{
	if (atomic_fetch_sub_explicit(&subscription->references, 1, memory_order_acq_rel) == 1)
		free(subscription);
}

static void drop_list(struct subscriber_list *list)
{
	if (atomic_fetch_sub_explicit(&list->references, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < list->count; i++)
		drop_subscription(list->subscriptions[i]);
	free(list);
}

static bool filter_wants(const struct vfb_filter *filter, const struct vfb_event *event)
{
	return filter->phases & VFB_PHASE_BIT(event->phase) &&
	       event->duration_ns >= filter->min_duration_ns && event->bytes >= filter->min_bytes;
}

static void call_subscriber(struct vfb_subscription *subscription, const struct vfb_event *event)
{
	atomic_fetch_add(&subscription->running, 1);
	if (!atomic_load(&subscription->ended))
		subscription->fn(event, subscription->data);
	atomic_fetch_sub_explicit(&subscription->running, 1, memory_order_release);
}

void vfb_observer_report(struct vfb_observer *observer, const struct vfb_event *event)
{
	struct subscriber_list *list;

	urcu_bp_read_lock();
	list = atomic_load_explicit(&observer->list, memory_order_acquire);
	if (list)
		atomic_fetch_add_explicit(&list->references, 1, memory_order_relaxed);
	urcu_bp_read_unlock();
	if (!list)
		return;
	callbacks++;
	for (size_t i = 0; i < list->count; i++)
		if (filter_wants(&list->subscriptions[i]->filter, event))
			call_subscriber(list->subscriptions[i], event);
	callbacks--;
	drop_list(list);
}

static void add_subscription(struct subscriber_list *list, struct vfb_subscription *subscription)
{
	atomic_fetch_add_explicit(&subscription->references, 1, memory_order_relaxed);
	list->subscriptions[list->count++] = subscription;
}

static size_t count_live(const struct subscriber_list *list)
{
	size_t count = 0;

	for (size_t i = 0; list && i < list->count; i++)
		count += !atomic_load(&list->subscriptions[i]->ended);
	return count;
}

/* Those of @old, which may be NULL, that have not ended, and room for one more. */
static struct subscriber_list *copy_live(const struct subscriber_list *old)
{
	size_t room = count_live(old) + 1;
	struct subscriber_list *list = malloc(sizeof(*list) + room * sizeof(old->subscriptions[0]));

	if (!list)
		return NULL;
	atomic_init(&list->references, 1);
	list->count = 0;
	for (size_t i = 0; old && i < old->count; i++)
		if (!atomic_load(&old->subscriptions[i]->ended))
			add_subscription(list, old->subscriptions[i]);
	return list;
}

static void update_wanted_locked(struct vfb_observer *observer)
{
	const struct subscriber_list *list = atomic_load(&observer->list);
	uint64_t wanted = 0;

	for (size_t i = 0; list && i < list->count; i++)
		if (!atomic_load(&list->subscriptions[i]->ended))
			wanted |= list->subscriptions[i]->filter.phases;
	atomic_store_explicit(&observer->wanted, wanted, memory_order_relaxed);
}

/* @list may be NULL. */
static void replace_list_locked(struct vfb_observer *observer, struct subscriber_list *list)
{
	struct subscriber_list *old;

	old = atomic_exchange_explicit(&observer->list, list, memory_order_acq_rel);
	update_wanted_locked(observer);
	if (!old)
		return;
	urcu_bp_synchronize_rcu();
	drop_list(old);
}

int vfb_observer_subscribe(struct vfb_observer *observer, const struct vfb_filter *filter,
			   vfb_event_fn fn, void *data, struct vfb_subscription **out)
{
	const uint64_t all = VFB_PHASE_BIT(VFB_PHASE_COUNT) - 1;
	struct vfb_subscription *subscription;
	struct subscriber_list *list;

	*out = NULL;
	if (!fn)
		return vfb_fail(-EINVAL, "the callback of a subscription is NULL");
	if (filter->phases & ~all)
		return vfb_fail(-EINVAL,
				"unknown phases in the filter 0x%" PRIx64 ": this version knows "
				"0x%" PRIx64,
				filter->phases, all);
	subscription = malloc(sizeof(*subscription));
	if (!subscription)
		return vfb_fail_memory();
	*subscription = (struct vfb_subscription){.observer = observer,
						  .filter = *filter,
						  .fn = fn,
						  .data = data};
	atomic_init(&subscription->references, 1);
	atomic_init(&subscription->ended, false);
	atomic_init(&subscription->running, 0);
	if (!filter->phases)
		subscription->filter.phases = all;

	pthread_mutex_lock(&observer->lock);
	list = copy_live(atomic_load(&observer->list));
	if (list) {
		add_subscription(list, subscription);
		replace_list_locked(observer, list);
	}
	pthread_mutex_unlock(&observer->lock);
	if (!list) {
		free(subscription);
		return vfb_fail_memory();
	}
	*out = subscription;
	return 0;
}

/* Cannot fail: without memory for a shorter list, the ended subscription stays in this one. */
static void remove_ended_locked(struct vfb_observer *observer)
{
	struct subscriber_list *old = atomic_load(&observer->list), *list = NULL;

	if (count_live(old))
		list = copy_live(old);
	if (list || !count_live(old))
		replace_list_locked(observer, list);
	else
		update_wanted_locked(observer);
}

struct vfb_observer *vfb_observer_unsubscribe(struct vfb_subscription *subscription)
{
	struct vfb_observer *observer = subscription->observer;

	/* A thread of the parent may hold the lock, or run the callback for ever. */
	if (observer->process != observer->sys->process_id(observer->sys))
		return observer;
	pthread_mutex_lock(&observer->lock);
	atomic_store(&subscription->ended, true);
	remove_ended_locked(observer);
	pthread_mutex_unlock(&observer->lock);
	/* In a callback, the call that is running may be this one. */
	if (!vfb_observe_in_callback())
		while (atomic_load(&subscription->running))
			sched_yield();
	drop_subscription(subscription);
	return observer;
}
