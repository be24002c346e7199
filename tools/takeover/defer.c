/* SPDX-License-Identifier: MIT */
/*
 * When what was unmapped is really unmapped. A VMM changes its memory layout with a lock held, as
 * QEMU's big lock, without which neither another thread nor the guest sees the change. So unmapping
 * is put off until the thread releases the lock that it held then: it has mapped again whatever is
 * to stay. What other threads lock and unlock meanwhile does not matter, nor do locks that are
 * taken and released within. A thread without a lock puts nothing off.
 */
/* Fortified headers define poll() and ppoll() inline. */
#undef _FORTIFY_SOURCE
#include <errno.h>

#include "next.h"
#include "takeover.h"

/* How many mutexes this thread holds; and what that was when it put something off, 0: nothing. */
static _Thread_local unsigned int defer_depth __attribute__((tls_model("initial-exec")));
static _Thread_local unsigned int defer_from __attribute__((tls_model("initial-exec")));

static _Thread_local bool defer_is_fresh __attribute__((tls_model("initial-exec")));
/* Threads that put something off; and whether a guest that runs has to be noticed. */
static atomic_uint defer_threads;
static atomic_bool defer_guest_is_awaited;

bool defer_until_unlock(void)
{
	atomic_store(&defer_guest_is_awaited, true);
	if (!defer_depth)
		return false;
	if (!defer_from)
		atomic_fetch_add(&defer_threads, 1);
	if (!defer_from || defer_depth < defer_from)
		defer_from = defer_depth;
	return true;
}

static void defer_end(void)
{
	int error = errno;

	defer_from = 0;
	takeover_lock();
	takeover_reconcile_locked();
	takeover_unlock();
	atomic_fetch_sub(&defer_threads, 1);
	errno = error;
}

void defer_nothing(void)
{
	defer_from = 0;
	atomic_store(&defer_threads, 0);
}

void defer_fresh(void)
{
	defer_is_fresh = true;
	atomic_store(&defer_guest_is_awaited, true);
}

static void defer_end_freshness(void)
{
	takeover_lock();
	for (size_t i = 0; i < takeover.settings.grant.device_count; i++)
		takeover.devices[i].is_fresh &= !takeover.devices[i].is_used;
	takeover_unlock();
}

void defer_guest_runs(void)
{
	if (!atomic_load_explicit(&defer_guest_is_awaited, memory_order_relaxed) ||
	    !atomic_exchange(&defer_guest_is_awaited, false))
		return;
	defer_end_freshness();
	takeover_lock();
	if (!atomic_load(&defer_threads))
		takeover_reconcile_locked();
	takeover_unlock();
}

static void defer_thread_waits(void)
{
	if (__builtin_expect(defer_is_fresh, 0)) {
		defer_is_fresh = false;
		defer_end_freshness();
	}
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	defer_thread_waits();
	return NEXT(poll)(fds, count, timeout);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *signals)
{
	defer_thread_waits();
	return NEXT(ppoll)(fds, count, timeout, signals);
}

EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int error = NEXT(lock)(mutex);

	/* A robust mutex whose owner has died is locked, too: EOWNERDEAD. */
	defer_depth += !error || error == EOWNERDEAD;
	return error;
}

EXPORT int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	int error = NEXT(trylock)(mutex);

	defer_depth += !error || error == EOWNERDEAD;
	return error;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int error;

	if (__builtin_expect(defer_from && defer_depth <= defer_from, 0))
		defer_end();
	error = NEXT(unlock)(mutex);
	defer_depth -= !error && defer_depth;
	return error;
}

/* Waiting releases the mutex for a time. */
EXPORT int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	if (__builtin_expect(defer_from, 0))
		defer_end();
	return NEXT(wait)(cond, mutex);
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
				  const struct timespec *end)
{
	if (__builtin_expect(defer_from, 0))
		defer_end();
	return NEXT(timedwait)(cond, mutex, end);
}
