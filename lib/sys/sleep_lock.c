/* SPDX-License-Identifier: MIT */
#include "sys/sleep_lock.h"

void vfb_sleep_lock_init(struct vfb_sleep_lock *lock, const struct vfb_sys *sys)
{
	lock->sys = sys;
	lock->held = false;
	pthread_mutex_init(&lock->mutex, NULL);
	pthread_cond_init(&lock->freed, NULL);
}

void vfb_sleep_lock_destroy(struct vfb_sleep_lock *lock)
{
	pthread_cond_destroy(&lock->freed);
	pthread_mutex_destroy(&lock->mutex);
}

void vfb_sleep_lock_take(struct vfb_sleep_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	while (lock->held)
		lock->sys->cond_wait(lock->sys, &lock->freed, &lock->mutex, UINT64_MAX);
	lock->held = true;
	pthread_mutex_unlock(&lock->mutex);
}

void vfb_sleep_lock_release(struct vfb_sleep_lock *lock)
{
	pthread_mutex_lock(&lock->mutex);
	lock->held = false;
	lock->sys->cond_signal(lock->sys, &lock->freed);
	pthread_mutex_unlock(&lock->mutex);
}
