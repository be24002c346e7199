/* SPDX-License-Identifier: MIT */
#ifndef TAKEOVER_NEXT_H
#define TAKEOVER_NEXT_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

/* The definitions behind ours, normally the C library's. */
struct next {
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int folder, const char *path, int flags, ...);
	int (*close)(int fd);
	int (*close_range)(unsigned int first, unsigned int last, int flags);
	int (*dup2)(int fd, int other);
	int (*dup3)(int fd, int other, int flags);
	int (*poll)(struct pollfd *fds, nfds_t count, int timeout);
	int (*ppoll)(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		     const sigset_t *signals);
	int (*lock)(pthread_mutex_t *mutex);
	int (*trylock)(pthread_mutex_t *mutex);
	int (*unlock)(pthread_mutex_t *mutex);
	int (*wait)(pthread_cond_t *cond, pthread_mutex_t *mutex);
	int (*timedwait)(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *end);
};
extern struct next next;

void next_find(void);

/* Constructors that run before ours call these, too. */
#define NEXT(name) (next.name ? next.name : (next_find(), next.name))

#endif
