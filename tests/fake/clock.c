/* SPDX-License-Identifier: MIT */
/* The virtual clock: who is blocked, and what time it becomes when everybody is. */
#include <inttypes.h>
#include <time.h>

#include "model.h"

static void report_threads(struct fake *fake, const char *what)
{
	fprintf(stderr, "fake kernel: %s at %" PRIu64 " ns\n", what, fake->now);
	for (struct thread *t = fake->threads; t; t = t->next) {
		fprintf(stderr, "  %s%s: ", t->name, t->counted ? "" : " (not waited for)");
		if (t->exited)
			fprintf(stderr, "has ended\n");
		else if (!t->blocked)
			fprintf(stderr, "runs\n");
		else if (t->deadline == NEVER)
			fprintf(stderr, "waits for %s %p\n", t->why, t->on);
		else
			fprintf(stderr, "waits for %s %p until %" PRIu64 " ns\n", t->why, t->on,
				t->deadline);
	}
}

__attribute__((noreturn)) static void die(struct fake *fake, const char *what)
{
	report_threads(fake, what);
	abort();
}

void fk_thread_wake(struct thread *thread, bool timed_out)
{
	if (!thread->blocked)
		return;
	thread->blocked = false;
	thread->timed_out = timed_out;
	if (thread->counted)
		thread->fake->runnable++;
	else
		thread->fake->outside++;
	pthread_cond_signal(&thread->cond);
}

void fk_wake_all(struct fake *fake, const void *on)
{
	for (struct thread *t = fake->threads; t; t = t->next)
		if (t->blocked && t->on == on)
			fk_thread_wake(t, false);
}

/* Nobody can run: the time becomes that of the next deadline. */
void fk_clock_advance(struct fake *fake)
{
	while (!fake->runnable) {
		uint64_t next = NEVER;
		bool blocked = false;

		for (struct thread *t = fake->threads; t; t = t->next) {
			if (!t->blocked)
				continue;
			/* Threads of the library idle when the program's have gone. */
			blocked |= !t->created;
			if (t->deadline < next)
				next = t->deadline;
		}
		if (next == NEVER) {
			if (blocked && !fake->outside)
				die(fake, "deadlock, every thread waits");
			return;
		}
		if (next > fake->now)
			fake->now = next;
		for (struct thread *t = fake->threads; t; t = t->next)
			if (t->blocked && t->deadline <= fake->now)
				fk_thread_wake(t, true);
	}
}

/* Waits for real until woken; aborts when nothing happens any more. */
static void wait_until_woken(struct fake *fake, struct thread *self)
{
	uint64_t activity = fake->activity;
	unsigned int idle = 0;

	while (self->blocked) {
		struct timespec soon;

		clock_gettime(CLOCK_MONOTONIC, &soon);
		soon.tv_sec++;
		if (pthread_cond_timedwait(&self->cond, &fake->lock, &soon) != ETIMEDOUT)
			continue;
		if (activity != fake->activity || fake->outside) {
			activity = fake->activity;
			idle = 0;
		} else if (++idle >= fake->config.watchdog_s) {
			die(fake, "stuck, a thread that could run makes no calls (does it block "
				  "outside? see fake_outside_begin)");
		}
	}
}

/* Returns whether it was the deadline. */
bool fk_thread_block(struct fake *fake, const char *why, const void *on, uint64_t deadline)
{
	struct thread *self = fk_thread_self(fake);

	self->blocked = true;
	self->timed_out = false;
	self->deadline = deadline;
	self->why = why;
	self->on = on;
	if (self->counted)
		fake->runnable--;
	else
		fake->outside--;
	fk_clock_advance(fake);
	wait_until_woken(fake, self);
	fake->activity++;
	return self->timed_out;
}

void fk_clock_spend(struct fake *fake, uint64_t ns)
{
	if (ns)
		fk_thread_block(fake, "time to pass", NULL,
				ns < NEVER - fake->now ? fake->now + ns : NEVER);
}

/* ---- Locks ---- */

static bool can_take(const struct vlock *lock, bool write)
{
	return !lock->writer && (!write || !lock->readers);
}

static void take(struct vlock *lock, bool write)
{
	if (write)
		lock->writer = true;
	else
		lock->readers++;
}

static void acquire(struct fake *fake, struct vlock *lock, bool write)
{
	struct thread *self = fk_thread_self(fake);

	if (!lock->first && can_take(lock, write)) {
		take(lock, write);
		return;
	}
	self->wants_write = write;
	self->queue_next = NULL;
	if (lock->last)
		lock->last->queue_next = self;
	else
		lock->first = self;
	lock->last = self;
	fk_thread_block(fake, lock->name, lock, NEVER);
}

/* Gives the lock to those who wait, in order. */
static void hand_over(struct vlock *lock)
{
	while (lock->first && can_take(lock, lock->first->wants_write)) {
		struct thread *next = lock->first;

		take(lock, next->wants_write);
		lock->first = next->queue_next;
		if (!lock->first)
			lock->last = NULL;
		fk_thread_wake(next, false);
	}
}

void fk_vlock_write(struct fake *fake, struct vlock *lock)
{
	acquire(fake, lock, true);
}

void fk_vlock_read(struct fake *fake, struct vlock *lock)
{
	acquire(fake, lock, false);
}

bool fk_vlock_try(struct vlock *lock)
{
	if (lock->first || !can_take(lock, true))
		return false;
	take(lock, true);
	return true;
}

void fk_vunlock_write(struct vlock *lock)
{
	lock->writer = false;
	hand_over(lock);
}

void fk_vunlock_read(struct vlock *lock)
{
	lock->readers--;
	hand_over(lock);
}
