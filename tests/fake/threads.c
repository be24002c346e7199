/* SPDX-License-Identifier: MIT */
/* Threads, conditions and eventfds of the table. */
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "model.h"

/* ---- Who is who ---- */

/* The CPU of @cpus with the fewest threads. */
static int place(struct fake *fake, const cpu_set_t *cpus)
{
	int best = -1;
	unsigned int fewest = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		unsigned int load = 0;

		if (!CPU_ISSET(cpu, cpus))
			continue;
		for (struct thread *t = fake->threads; t; t = t->next)
			load += t->cpu == cpu && !t->exited;
		if (best < 0 || load < fewest) {
			best = cpu;
			fewest = load;
		}
	}
	return best < 0 ? 0 : best;
}

static struct thread *thread_new(struct fake *fake, const char *name, const cpu_set_t *cpus,
				 bool counted)
{
	struct thread *thread = fk_xalloc(sizeof(*thread));
	pthread_condattr_t attr;

	thread->fake = fake;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	thread->cpus = *cpus;
	thread->cpu = place(fake, cpus);
	thread->counted = counted;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&thread->cond, &attr);
	pthread_condattr_destroy(&attr);
	if (counted)
		fake->runnable++;
	else
		fake->outside++;
	thread->next = fake->threads;
	fake->threads = thread;
	return thread;
}

static void thread_free(struct thread *thread)
{
	struct thread **at = &thread->fake->threads;

	while (*at != thread)
		at = &(*at)->next;
	*at = thread->next;
	pthread_cond_destroy(&thread->cond);
	free(thread);
}

static void uncount(struct thread *thread)
{
	if (thread->counted)
		thread->fake->runnable--;
	else
		thread->fake->outside--;
	fk_clock_advance(thread->fake);
}

struct thread *fk_thread_add(struct fake *fake, const char *name, bool counted)
{
	struct thread *thread = thread_new(fake, name, &fake->config.affinity, counted);

	thread->handle = pthread_self();
	pthread_setspecific(fake->key, thread);
	return thread;
}

/* Ends what thread_add() began; in any thread. */
void fk_thread_remove(struct thread *thread)
{
	uncount(thread);
	thread_free(thread);
}

/* A thread that the fake does not know is let in, but not waited for. */
struct thread *fk_thread_self(struct fake *fake)
{
	struct thread *thread = pthread_getspecific(fake->key);

	return thread ? thread : fk_thread_add(fake, "stranger", false);
}

int fk_thread_node(const struct thread *thread)
{
	int found = -1;

	for (int n = 0; n < FAKE_NODES; n++) {
		cpu_set_t common;

		CPU_AND(&common, &thread->cpus, &thread->fake->nodes[n].cpus);
		if (!CPU_COUNT(&common))
			continue;
		if (found >= 0)
			return -1;
		found = n;
	}
	return found;
}

void fake_thread_begin(struct fake *fake, const char *name)
{
	pthread_mutex_lock(&fake->lock);
	if (!pthread_getspecific(fake->key))
		fk_thread_add(fake, name, true);
	pthread_mutex_unlock(&fake->lock);
}

void fake_thread_end(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fk_thread_remove(fk_thread_self(fake));
	pthread_setspecific(fake->key, NULL);
	pthread_mutex_unlock(&fake->lock);
}

void fake_outside_begin(struct fake *fake)
{
	struct thread *self;

	pthread_mutex_lock(&fake->lock);
	self = fk_thread_self(fake);
	if (self->counted) {
		self->counted = false;
		fake->runnable--;
		fake->outside++;
		fk_clock_advance(fake);
	}
	pthread_mutex_unlock(&fake->lock);
}

void fake_outside_end(struct fake *fake)
{
	struct thread *self;

	pthread_mutex_lock(&fake->lock);
	self = fk_thread_self(fake);
	if (!self->counted) {
		self->counted = true;
		fake->runnable++;
		fake->outside--;
	}
	pthread_mutex_unlock(&fake->lock);
}

/* ---- Threads of the table ---- */

static void *thread_main(void *arg)
{
	struct thread *self = arg;
	struct fake *fake = self->fake;
	void *result;

	pthread_mutex_lock(&fake->lock);
	self->handle = pthread_self();
	pthread_setspecific(fake->key, self);
	pthread_mutex_unlock(&fake->lock);
	result = self->run(self->arg);
	pthread_mutex_lock(&fake->lock);
	pthread_setspecific(fake->key, NULL);
	self->exited = true;
	fk_wake_all(fake, self);
	uncount(self);
	pthread_mutex_unlock(&fake->lock);
	return result;
}

static int op_thread_create(const struct vfb_sys *sys, const char *name, const cpu_set_t *cpus,
			    void *(*run)(void *arg), void *arg, pthread_t *out)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "thread_create", NULL, EAGAIN);
	struct thread *thread;
	cpu_set_t all, allowed;

	if (error)
		goto out;
	CPU_ZERO(&all);
	for (int n = 0; n < FAKE_NODES; n++)
		CPU_OR(&all, &all, &fake->nodes[n].cpus);
	allowed = cpus ? *cpus : fk_thread_self(fake)->cpus;
	CPU_AND(&allowed, &allowed, &all);
	if (!CPU_COUNT(&allowed)) {
		error = -EINVAL;
		goto out;
	}
	thread = thread_new(fake, name, &allowed, true);
	thread->created = true;
	thread->run = run;
	thread->arg = arg;
	error = -pthread_create(&thread->handle, NULL, thread_main, thread);
	if (error) {
		fake->runnable--;
		thread_free(thread);
		goto out;
	}
	*out = thread->handle;
out:
	kernel_leave(fake);
	return error;
}

static void op_thread_join(const struct vfb_sys *sys, pthread_t handle)
{
	struct fake *fake = kernel_enter(sys);
	struct thread *thread = fake->threads;

	while (thread &&
	       (!thread->created || thread->joining || !pthread_equal(thread->handle, handle)))
		thread = thread->next;
	if (!thread) {
		fk_misuse(fake, "joined a thread that does not exist, or twice");
		kernel_leave(fake);
		return;
	}
	thread->joining = true;
	while (!thread->exited)
		fk_thread_block(fake, "the end of a thread", thread, NEVER);
	kernel_leave(fake);
	pthread_join(handle, NULL);
	kernel_enter(sys);
	thread_free(thread);
	kernel_leave(fake);
}

/* ---- Conditions ---- */

/*
 * The condition is only a name: the waiter blocks in the fake, which knows it before the mutex is
 * free, so that a wake-up makes it runnable at once.
 */
static int op_cond_wait(const struct vfb_sys *sys, pthread_cond_t *cond, pthread_mutex_t *mutex,
			uint64_t deadline_ns)
{
	struct fake *fake = kernel_enter(sys);
	struct thread *self = fk_thread_self(fake);
	bool timed_out = deadline_ns <= fake->now;

	fk_locks_check(fake, "waiting for a condition", 1);
	if (!timed_out) {
		self->mutex = mutex;
		pthread_mutex_unlock(mutex);
		timed_out = fk_thread_block(fake, "a condition", cond, deadline_ns);
		self->mutex = NULL;
		kernel_leave(fake);
		pthread_mutex_lock(mutex);
	} else {
		kernel_leave(fake);
	}
	return timed_out ? -ETIMEDOUT : 0;
}

/* Wakes those that wait for the condition, no more than @count. */
static void wake_waiters(const struct vfb_sys *sys, pthread_cond_t *cond, unsigned int count)
{
	struct fake *fake = kernel_enter(sys);

	for (struct thread *t = fake->threads; t && count; t = t->next) {
		if (!t->blocked || t->on != cond || !t->mutex)
			continue;
		if (!pthread_mutex_trylock(t->mutex)) {
			pthread_mutex_unlock(t->mutex);
			fk_misuse(fake, "condition of %s woken without its mutex held", t->name);
		}
		fk_thread_wake(t, false);
		count--;
	}
	kernel_leave(fake);
}

static void op_cond_signal(const struct vfb_sys *sys, pthread_cond_t *cond)
{
	wake_waiters(sys, cond, 1);
}

static void op_cond_broadcast(const struct vfb_sys *sys, pthread_cond_t *cond)
{
	wake_waiters(sys, cond, UINT_MAX);
}

/* ---- eventfd ---- */

static int op_eventfd(const struct vfb_sys *sys)
{
	struct fake *fake = kernel_enter(sys);
	int fd = fk_inject(fake, "eventfd", NULL, EMFILE);

	if (!fd) {
		fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fd >= 0)
			fk_file_install(fake, fd, FILE_EVENTFD, "eventfd", NULL);
		else
			fd = -errno;
	}
	kernel_leave(fake);
	return fd;
}

static void op_eventfd_signal(const struct vfb_sys *sys, int fd)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);

	if (!file || file->kind != FILE_EVENTFD) {
		fk_misuse(fake, "signalled fd %d, which is not an open eventfd", fd);
	} else {
		eventfd_write(fd, 1);
		fk_wake_all(fake, file);
	}
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
}

bool fk_eventfd_is_set(const struct file *file)
{
	struct pollfd poll_fd = {.fd = file->fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) > 0;
}

static const char polling[] = "an eventfd";

void fk_wake_pollers(struct fake *fake)
{
	for (struct thread *t = fake->threads; t; t = t->next)
		if (t->blocked && t->why == polling)
			fk_thread_wake(t, false);
}

bool fake_poll(struct fake *fake, int fd, uint64_t timeout_ns)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	struct file *file;
	uint64_t deadline;
	bool ready;

	kernel_enter(&fake->sys);
	deadline = timeout_ns < NEVER - fake->now ? fake->now + timeout_ns : NEVER;
	file = fk_file_get(fake, fd);
	for (;;) {
		ready = poll(&poll_fd, 1, 0) > 0;
		if (ready || deadline <= fake->now || !file)
			break;
		fk_thread_block(fake, polling, file, deadline);
	}
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return ready;
}

/* ---- The rest ---- */

static int op_current_cpu(const struct vfb_sys *sys)
{
	struct fake *fake = kernel_enter(sys);
	int cpu = fk_thread_self(fake)->cpu;

	kernel_leave(fake);
	return cpu;
}

static int op_current_thread(const struct vfb_sys *sys)
{
	(void)sys;
	return gettid();
}

void fake_page_faults(struct fake *fake, const uint64_t *faults, size_t count)
{
	pthread_mutex_lock(&fake->lock);
	memcpy(fake->faults, faults, count * sizeof(*faults));
	fake->fault_count = count;
	pthread_mutex_unlock(&fake->lock);
}

static uint64_t op_minor_faults(const struct vfb_sys *sys)
{
	struct fake *fake = kernel_enter(sys);
	uint64_t faults = fake->faults[0];

	if (fake->fault_count) {
		fake->fault_count--;
		memmove(fake->faults, fake->faults + 1, fake->fault_count * sizeof(faults));
	}
	kernel_leave(fake);
	return faults;
}

static int op_get_affinity(const struct vfb_sys *sys, cpu_set_t *cpus)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "get_affinity", NULL, EINVAL);

	if (!error)
		*cpus = fk_thread_self(fake)->cpus;
	kernel_leave(fake);
	return error;
}

static uint64_t op_now(const struct vfb_sys *sys)
{
	struct fake *fake = fake_of(sys);
	uint64_t now;

	/* Asking for the time is no progress: not counted as activity. */
	pthread_mutex_lock(&fake->lock);
	now = fake->now;
	pthread_mutex_unlock(&fake->lock);
	return now;
}

static void op_sleep(const struct vfb_sys *sys, uint64_t ns)
{
	struct fake *fake = kernel_enter(sys);

	fk_locks_check(fake, "sleep", 0);
	fk_clock_spend(fake, ns);
	kernel_leave(fake);
}

uint64_t fake_now(struct fake *fake)
{
	return op_now(&fake->sys);
}

void fk_threads_table(struct vfb_sys *sys)
{
	sys->thread_create = op_thread_create;
	sys->thread_join = op_thread_join;
	sys->cond_wait = op_cond_wait;
	sys->cond_signal = op_cond_signal;
	sys->cond_broadcast = op_cond_broadcast;
	sys->current_cpu = op_current_cpu;
	sys->current_thread = op_current_thread;
	sys->minor_faults = op_minor_faults;
	sys->get_affinity = op_get_affinity;
	sys->eventfd = op_eventfd;
	sys->eventfd_signal = op_eventfd_signal;
	sys->now = op_now;
	sys->sleep = op_sleep;
}
