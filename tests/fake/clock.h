/* SPDX-License-Identifier: MIT */
/* Virtual time: clock.c, threads.c. */
#ifndef FAKE_CLOCK_H
#define FAKE_CLOCK_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct fake;
struct file;

struct thread {
	struct thread *next;
	struct fake *fake;
	char name[24];
	cpu_set_t cpus;
	int cpu;
	/* The clock waits for it while it is not blocked. */
	bool counted;
	/* Made by thread_create, and its state. */
	bool created, exited, joining;
	pthread_t handle;
	void *(*run)(void *arg);
	void *arg;

	/* Blocked until woken, for what, and its place in the queue of a lock. */
	bool blocked, timed_out;
	uint64_t deadline;
	const char *why;
	const void *on;
	pthread_mutex_t *mutex;
	pthread_cond_t cond;
	struct thread *queue_next;
	bool wants_write;
};

/* A kernel lock in virtual time: a mutex when only taken for writing; first come first served. */
struct vlock {
	const char *name;
	unsigned int readers;
	bool writer;
	struct thread *first, *last;
};

struct thread *fk_thread_self(struct fake *fake);
/* May block, all of them. */
bool fk_thread_block(struct fake *fake, const char *why, const void *on, uint64_t deadline);
void fk_clock_spend(struct fake *fake, uint64_t ns);
void fk_vlock_write(struct fake *fake, struct vlock *lock);
void fk_vlock_read(struct fake *fake, struct vlock *lock);
/* Do not block. */
bool fk_vlock_try(struct vlock *lock);
void fk_vunlock_write(struct vlock *lock);
void fk_vunlock_read(struct vlock *lock);
void fk_thread_wake(struct thread *thread, bool timed_out);
void fk_wake_all(struct fake *fake, const void *on);
/* Those in fake_poll() look again: an eventfd may have been written to behind the table. */
void fk_wake_pollers(struct fake *fake);
/* Whether an eventfd, by its file, can be read. */
bool fk_eventfd_is_set(const struct file *file);
void fk_clock_advance(struct fake *fake);
struct thread *fk_thread_add(struct fake *fake, const char *name, bool counted);
void fk_thread_remove(struct thread *thread);
/* The node all of the thread's CPUs belong to, -1 if there is none. */
int fk_thread_node(const struct thread *thread);

#endif
