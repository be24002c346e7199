/* SPDX-License-Identifier: MIT */
#include "next.h"

#include <dlfcn.h>

struct next next;

/* pthread_cond_wait(3) has an old version, of another layout of pthread_cond_t. */
static void *next_find_cond(const char *name)
{
	void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");

	return found ? found : dlsym(RTLD_NEXT, name);
}

#define FIND(member, name) next.member = (__typeof__(next.member))dlsym(RTLD_NEXT, name)

void next_find(void)
{
	FIND(ioctl, "ioctl");
	FIND(open, "open64");
	FIND(openat, "openat64");
	FIND(close, "close");
	FIND(close_range, "close_range");
	FIND(dup2, "dup2");
	FIND(dup3, "dup3");
	FIND(poll, "poll");
	FIND(ppoll, "ppoll");
	FIND(lock, "pthread_mutex_lock");
	FIND(trylock, "pthread_mutex_trylock");
	FIND(unlock, "pthread_mutex_unlock");
	next.wait = (__typeof__(next.wait))next_find_cond("pthread_cond_wait");
	next.timedwait = (__typeof__(next.timedwait))next_find_cond("pthread_cond_timedwait");
}
