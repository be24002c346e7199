/* SPDX-License-Identifier: MIT */
/*
 * Which process this is. A child has this memory, without the threads and with whatever lock
 * another thread held. fork(3) calls a handler; _Fork(3) and clone(2) do not, and most of the C
 * library must not be used after them. Such a child is noticed by a page that the kernel clears in
 * every child that does not share its memory: MADV_WIPEONFORK, Linux 4.14.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices.h"
#include "preload.h"

pid_t preload_process;
cpu_set_t preload_cpus;

enum process_state {
	/* The kernel has cleared the page. */
	PROCESS_NEW,
	/* One thread adapts to that. */
	PROCESS_CHANGING,
	PROCESS_KNOWN,
};

static atomic_int *process_page;
/* Made by other means than fork(3): nothing is done but to record calls. */
static atomic_bool process_is_bare;

static void process_begin(void)
{
	preload_process = getpid();
	preload_forget_use();
	preload_forget_threads();
	devices_forget_all();
}

static void process_adapt(void)
{
	int new = PROCESS_NEW;

	if (!atomic_compare_exchange_strong(process_page, &new, PROCESS_CHANGING)) {
		while (atomic_load(process_page) != PROCESS_KNOWN)
			;
		return;
	}
	/* The thread that held it does not exist in this process. */
	preload_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	atomic_store(&process_is_bare, true);
	process_begin();
	atomic_store(process_page, PROCESS_KNOWN);
}

void preload_check_process(void)
{
	if (atomic_load_explicit(process_page, memory_order_acquire) != PROCESS_KNOWN)
		process_adapt();
}

bool preload_process_is_bare(void)
{
	return atomic_load(&process_is_bare);
}

/* Another thread's lock must not stay locked in a child. */
static void process_before_fork(void)
{
	preload_check_process();
	pthread_mutex_lock(&preload_lock);
}

static void process_after_fork(void)
{
	pthread_mutex_unlock(&preload_lock);
}

static void process_in_child(void)
{
	process_begin();
	atomic_store(process_page, PROCESS_KNOWN);
	pthread_mutex_unlock(&preload_lock);
}

bool preload_know_process(void)
{
	void *page = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (page == MAP_FAILED || madvise(page, sizeof(int), MADV_WIPEONFORK))
		return false;
	process_page = page;
	sched_getaffinity(0, sizeof(preload_cpus), &preload_cpus);
	preload_process = getpid();
	atomic_store(process_page, PROCESS_KNOWN);
	return !pthread_atfork(process_before_fork, process_after_fork, process_in_child);
}
