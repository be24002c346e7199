/* SPDX-License-Identifier: MIT */
#ifndef STALL_H
#define STALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/*
 * A thread that maps and unmaps a page again and again, as a VMM's other threads would while
 * memory is populated, and notes how long the kernel's mmap_lock made it wait at worst.
 */
struct stall {
	pthread_t thread;
	atomic_bool stop;
	double longest_s;
	/* How often it has mapped and unmapped. */
	uint64_t maps;
};

/* 0, or -1, which has been reported. */
int stall_begin(struct stall *stall);
/* The longest wait, in seconds. */
double stall_end(struct stall *stall);

#endif
