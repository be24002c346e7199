/* SPDX-License-Identifier: MIT */
#include "observe/observer.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <urcu-bp.h>

#include "observe/error.h"
#include "rcu_tsan.h"

#define ALL_PHASES (VFB_PHASE_BIT(VFB_PHASE_COUNT) - 1)

struct vfb_subscription {
	struct vfb_observer *observer;
	struct vfb_filter filter;
	vfb_event_fn fn;
	void *data;
	/* Those of a list are in this order. */
	uint64_t serial;
	/* Set first when it ends; after that, no call of the function begins that is not counted
	 * in @running yet. */
	atomic_bool ended;
	/* Calls, by the CPU on which they began: a thread that reports an event writes nothing that
	 * others write. */
	struct vfb_counter_lane *running;
	/* Of those that wait to be freed. */
	struct vfb_subscription *next;
};

/*
 * The list is replaced, not modified (RCU). A thread that reports an event takes the subscribers
 * from it one at a time, each in a read-side critical section of its own, and calls them outside of
 * it, so that a slow callback delays no grace period. What keeps a subscription that is being
 * called is its count of calls: it is freed when it is in no list that a reader may find, and no
 * call of it is running.
 */
struct subscriber_list {
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
	atomic_init(&observer->list, NULL);
	observer->last_serial = 0;
	observer->ended = NULL;
	observer->ids = vfb_lanes_create();
	if (!observer->ids)
		return vfb_fail_memory();
	pthread_mutex_init(&observer->lock, NULL);
	return 0;
}

uint64_t vfb_observer_new_id(struct vfb_observer *observer)
{
	unsigned int lane = VFB_LANE_OF(observer->sys->current_cpu(observer->sys));
	uint64_t before;

	before = atomic_fetch_add_explicit(&observer->ids[lane].count, 1, memory_order_relaxed);
	return before * VFB_LANES + lane + 1;
}

static bool subscription_is_running(const struct vfb_subscription *subscription)
{
	for (size_t i = 0; i < VFB_LANES; i++)
		if (atomic_load(&subscription->running[i].count))
			return true;
	return false;
}

static void free_subscription(struct vfb_subscription *subscription)
{
	if (subscription)
		free(subscription->running);
	free(subscription);
}

static bool list_contains(const struct subscriber_list *list,
			  const struct vfb_subscription *subscription)
{
	for (size_t i = 0; list && i < list->count; i++)
		if (list->subscriptions[i] == subscription)
			return true;
	return false;
}

/* Frees those that have ended, unless they are in the list, or called by some thread. */
static void free_ended_locked(struct vfb_observer *observer)
{
	const struct subscriber_list *list = atomic_load(&observer->list);
	struct vfb_subscription **link = &observer->ended, *subscription;

	while ((subscription = *link)) {
		if (list_contains(list, subscription) || subscription_is_running(subscription)) {
			link = &subscription->next;
			continue;
		}
		*link = subscription->next;
		free_subscription(subscription);
	}
}

void vfb_observer_destroy(struct vfb_observer *observer)
{
	if (!observer->ids)
		return;
	/* Where there was no memory for a shorter list, it contains some that have ended. */
	free(atomic_exchange(&observer->list, NULL));
	free_ended_locked(observer);
	free(observer->ids);
	pthread_mutex_destroy(&observer->lock);
}

static bool filter_wants(const struct vfb_filter *filter, const struct vfb_event *event)
{
	return filter->phases & VFB_PHASE_BIT(event->phase) &&
	       event->duration_ns >= filter->min_duration_ns && event->bytes >= filter->min_bytes;
}

/*
 * The first subscription after @serial that wants the event, counted as running; NULL if there is
 * none up to *@last, which is set first if it is 0: those that callbacks add do not get this event.
 */
static struct vfb_subscription *begin_call(struct vfb_observer *observer,
					   const struct vfb_event *event, uint64_t serial,
					   uint64_t *last)
{
	struct vfb_subscription *found = NULL;
	const struct subscriber_list *list;

	urcu_bp_read_lock();
	list = atomic_load_explicit(&observer->list, memory_order_acquire);
	if (list && !*last)
		*last = list->subscriptions[list->count - 1]->serial;
	for (size_t i = 0; list && i < list->count && !found; i++) {
		struct vfb_subscription *subscription = list->subscriptions[i];

		if (subscription->serial > serial && subscription->serial <= *last &&
		    filter_wants(&subscription->filter, event))
			found = subscription;
	}
	if (found)
		atomic_fetch_add(&found->running[VFB_LANE_OF(event->cpu)].count, 1);
	VFB_RCU_TSAN(release, &observer->process);
	urcu_bp_read_unlock();
	return found;
}

static void end_call(struct vfb_subscription *subscription, const struct vfb_event *event)
{
	atomic_fetch_sub_explicit(&subscription->running[VFB_LANE_OF(event->cpu)].count, 1,
				  memory_order_release);
}

void vfb_observer_report(struct vfb_observer *observer, const struct vfb_event *event)
{
	struct vfb_subscription *subscription;
	uint64_t serial = 0, last = 0;

	callbacks++;
	while ((subscription = begin_call(observer, event, serial, &last))) {
		serial = subscription->serial;
		if (!atomic_load(&subscription->ended))
			subscription->fn(event, subscription->data);
		end_call(subscription, event);
	}
	callbacks--;
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
	list->count = 0;
	for (size_t i = 0; old && i < old->count; i++)
		if (!atomic_load(&old->subscriptions[i]->ended))
			list->subscriptions[list->count++] = old->subscriptions[i];
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
	VFB_RCU_TSAN(acquire, &observer->process);
	free(old);
}

/* NULL: no memory. */
static struct vfb_subscription *make_subscription(struct vfb_observer *observer,
						  const struct vfb_filter *filter, vfb_event_fn fn,
						  void *data)
{
	struct vfb_subscription *subscription = calloc(1, sizeof(*subscription));

	if (!subscription)
		return NULL;
	*subscription = (struct vfb_subscription){
		.observer = observer,
		.filter = *filter,
		.fn = fn,
		.data = data,
		.running = vfb_lanes_create(),
	};
	atomic_init(&subscription->ended, false);
	if (!filter->phases)
		subscription->filter.phases = ALL_PHASES;
	if (subscription->running)
		return subscription;
	free_subscription(subscription);
	return NULL;
}

int vfb_observer_subscribe(struct vfb_observer *observer, const struct vfb_filter *filter,
			   vfb_event_fn fn, void *data, struct vfb_subscription **out)
{
	struct vfb_subscription *subscription;
	struct subscriber_list *list;

	*out = NULL;
	if (!fn)
		return vfb_fail(-EINVAL, "the callback of a subscription is NULL");
	if (filter->phases & ~ALL_PHASES)
		return vfb_fail(-EINVAL,
				"unknown phases in the filter 0x%" PRIx64 ": this version knows "
				"0x%" PRIx64,
				filter->phases, ALL_PHASES);
	subscription = make_subscription(observer, filter, fn, data);
	if (!subscription)
		return vfb_fail_memory();
	pthread_mutex_lock(&observer->lock);
	list = copy_live(atomic_load(&observer->list));
	if (list) {
		subscription->serial = ++observer->last_serial;
		list->subscriptions[list->count++] = subscription;
		replace_list_locked(observer, list);
		free_ended_locked(observer);
	}
	pthread_mutex_unlock(&observer->lock);
	if (!list) {
		free_subscription(subscription);
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
		while (subscription_is_running(subscription))
			sched_yield();
	pthread_mutex_lock(&observer->lock);
	subscription->next = observer->ended;
	observer->ended = subscription;
	free_ended_locked(observer);
	pthread_mutex_unlock(&observer->lock);
	return observer;
}
