/* SPDX-License-Identifier: MIT */
#include "engine/deadline.h"

#include <errno.h>
#include <stdlib.h>

#include "observe/error.h"

struct vfb_deadlines {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* What is being called, without the lock: it may set deadlines and call subscribers. */
	const struct vfb_deadline *expiring;
	/* Not sorted: there are few. */
	struct vfb_deadline *first;
	bool started, stopping;
	pthread_t thread;
};

int vfb_deadlines_create(const struct vfb_sys *sys, struct vfb_deadlines **out)
{
	struct vfb_deadlines *deadlines = calloc(1, sizeof(*deadlines));

	if (!deadlines)
		return vfb_fail_memory();
	deadlines->sys = sys;
	pthread_mutex_init(&deadlines->lock, NULL);
	pthread_cond_init(&deadlines->changed, NULL);
	*out = deadlines;
	return 0;
}

void vfb_deadlines_destroy(struct vfb_deadlines *deadlines)
{
	const struct vfb_sys *sys = deadlines->sys;

	pthread_mutex_lock(&deadlines->lock);
	deadlines->stopping = true;
	sys->cond_broadcast(sys, &deadlines->changed);
	pthread_mutex_unlock(&deadlines->lock);
	if (deadlines->started)
		sys->thread_join(sys, deadlines->thread);
	pthread_cond_destroy(&deadlines->changed);
	pthread_mutex_destroy(&deadlines->lock);
	free(deadlines);
}

static void remove_deadline(struct vfb_deadlines *deadlines, struct vfb_deadline *deadline)
{
	struct vfb_deadline **link = &deadlines->first;

	while (*link && *link != deadline)
		link = &(*link)->next;
	if (*link)
		*link = deadline->next;
}

static struct vfb_deadline *find_next(struct vfb_deadlines *deadlines)
{
	struct vfb_deadline *next = deadlines->first;

	for (struct vfb_deadline *other = next; other; other = other->next)
		if (other->at_ns < next->at_ns)
			next = other;
	return next;
}

static void *run(void *arg)
{
	struct vfb_deadlines *deadlines = arg;
	const struct vfb_sys *sys = deadlines->sys;
	struct vfb_deadline *next;

	pthread_mutex_lock(&deadlines->lock);
	while (!deadlines->stopping) {
		next = find_next(deadlines);
		if (next && sys->now(sys) >= next->at_ns) {
			remove_deadline(deadlines, next);
			deadlines->expiring = next;
			pthread_mutex_unlock(&deadlines->lock);
			next->expire(next);
			pthread_mutex_lock(&deadlines->lock);
			deadlines->expiring = NULL;
			sys->cond_broadcast(sys, &deadlines->changed);
			continue;
		}
		sys->cond_wait(sys, &deadlines->changed, &deadlines->lock,
			       next ? next->at_ns : UINT64_MAX);
	}
	pthread_mutex_unlock(&deadlines->lock);
	return NULL;
}

static int deadlines_start_locked(struct vfb_deadlines *deadlines)
{
	const struct vfb_sys *sys = deadlines->sys;
	int error = 0;

	if (!deadlines->started)
		error = sys->thread_create(sys, "vfb-deadline", NULL, run, deadlines,
					   &deadlines->thread);
	if (!error)
		deadlines->started = true;
	return error;
}

static int deadlines_fail(int error)
{
	return vfb_fail_errno(error, "cannot start a thread for a batch's timeout "
				     "(RLIMIT_NPROC and the pids cgroup limit threads)");
}

int vfb_deadlines_start(struct vfb_deadlines *deadlines)
{
	int error;

	pthread_mutex_lock(&deadlines->lock);
	error = deadlines_start_locked(deadlines);
	pthread_mutex_unlock(&deadlines->lock);
	return error ? deadlines_fail(error) : 0;
}

int vfb_deadline_set(struct vfb_deadlines *deadlines, struct vfb_deadline *deadline,
		     uint64_t timeout_ns, void (*expire)(struct vfb_deadline *deadline))
{
	const struct vfb_sys *sys = deadlines->sys;
	uint64_t now = sys->now(sys);
	int error;

	pthread_mutex_lock(&deadlines->lock);
	error = deadlines_start_locked(deadlines);
	if (!error) {
		deadline->set = deadlines;
		deadline->expire = expire;
		deadline->at_ns = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
		deadline->next = deadlines->first;
		deadlines->first = deadline;
		sys->cond_broadcast(sys, &deadlines->changed);
	}
	pthread_mutex_unlock(&deadlines->lock);
	return error ? deadlines_fail(error) : 0;
}

void vfb_deadline_forget(struct vfb_deadline *deadline)
{
	struct vfb_deadlines *deadlines = deadline->set;

	if (!deadlines)
		return;
	pthread_mutex_lock(&deadlines->lock);
	remove_deadline(deadlines, deadline);
	/* The thread that makes the call may forget the deadline within it. */
	while (deadlines->expiring == deadline && !pthread_equal(deadlines->thread, pthread_self()))
		deadlines->sys->cond_wait(deadlines->sys, &deadlines->changed, &deadlines->lock,
					  UINT64_MAX);
	pthread_mutex_unlock(&deadlines->lock);
	deadline->set = NULL;
}
