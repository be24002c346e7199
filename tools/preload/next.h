/* SPDX-License-Identifier: MIT */
#ifndef NEXT_H
#define NEXT_H

#include <stddef.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

/* The next definitions after ours, the C library's as a rule. */
struct next {
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*close)(int fd);
	int (*close_range)(unsigned int first, unsigned int last, int flags);
	int (*dup2)(int fd, int other);
	int (*dup3)(int fd, int other, int flags);
	int (*unshare)(int flags);
	int (*setns)(int fd, int type);
	int (*capset)(void *header, const void *data);
	int (*prctl)(int option, ...);
	long (*syscall)(long number, ...);
	int (*madvise)(void *address, size_t bytes, int advice);
	void *(*mmap)(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
};
extern struct next next;

/* Once, and beforehand: dlsym(3) takes a lock, which a child of fork() may find locked. */
void next_find(void);

/* What a constructor that runs before ours calls is passed on, too. */
#define NEXT(name) (next.name ? next.name : (next_find(), next.name))

#endif
