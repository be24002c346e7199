/* SPDX-License-Identifier: MIT */
/*
 * Counts the mutexes that each thread holds, to find system calls that may sleep while one is held
 * (see sys.h). The linker sends every call in the program's own objects here (--wrap).
 */
#include "model.h"

static _Thread_local unsigned int held;
static _Thread_local struct fake_locks counts;

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int error = __real_pthread_mutex_trylock(mutex);

	if (error == EBUSY) {
		counts.waited++;
		error = __real_pthread_mutex_lock(mutex);
	}
	counts.taken += !error;
	held += !error;
	return error;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	int error = __real_pthread_mutex_trylock(mutex);

	held += !error;
	return error;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	held--;
	return __real_pthread_mutex_unlock(mutex);
}

unsigned int fake_locks_held(void)
{
	return held;
}

struct fake_locks fake_locks(void)
{
	return counts;
}

void fk_locks_check(struct fake *fake, const char *call, unsigned int allowed)
{
	/* One is the fake's. */
	if (held > allowed + 1)
		fk_misuse(fake, "%s with %u locks held", call, held - 1);
}
