/* SPDX-License-Identifier: MIT */
#ifndef TOUCH_H
#define TOUCH_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "look.h"

/*
 * Memory that is touched from its end downwards while the kernel pins it from its beginning on.
 *
 * Both at once are no faster than one after the other as long as they share a lock: type1 takes
 * mmap_lock for writing for every run of contiguous pages (vfio_lock_acct()), and whatever a
 * thread asks the kernel to populate takes it for reading. Page faults of user mode take the lock
 * of the one mapping only, for all kinds of memory since Linux 6.7.
 */
struct touching {
	char *address;
	uint64_t bytes;
	/* Pages that are present are left alone. */
	struct look look;
	/* Set by the caller when the rest is not needed any more. */
	atomic_bool *stop;
	/* How many bytes from the beginning nobody has begun yet; how many were touched. */
	atomic_uint_fast64_t left, touched;
};

/*
 * Whether all of the memory may be touched: base pages that are nothing but memory (for a
 * device's region a touch would be a write to it), and a kernel that gains by it.
 */
bool touch_is_allowed(char *address, uint64_t bytes);

/*
 * Touches steps until none is left or @touching->stop is set. A page that raises a signal ends it
 * early. The caller sets address, bytes, look and stop, and left to bytes. Several threads may call
 * it at once.
 */
void touch_steps(struct touching *touching);

#endif
