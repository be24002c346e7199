/* SPDX-License-Identifier: MIT */
#ifndef VFB_SLEEP_LOCK_H
#define VFB_SLEEP_LOCK_H

#include <stdbool.h>

#include "sys/sys.h"

/*
 * A lock that may be held across system calls that sleep, unlike a mutex (see sys.h): threads
 * wait for it in sys->cond_wait(). It is the outermost lock: take no other one before it.
 */
struct vfb_sleep_lock {
	const struct vfb_sys *sys;
	pthread_mutex_t mutex;
	pthread_cond_t freed;
	bool held;
};

void vfb_sleep_lock_init(struct vfb_sleep_lock *lock, const struct vfb_sys *sys);
void vfb_sleep_lock_destroy(struct vfb_sleep_lock *lock);
void vfb_sleep_lock_take(struct vfb_sleep_lock *lock);
void vfb_sleep_lock_release(struct vfb_sleep_lock *lock);

#endif
