/* SPDX-License-Identifier: MIT */
#ifndef VFB_LINUX_TOUCH_H
#define VFB_LINUX_TOUCH_H

#include "sys/sys.h"

/*
 * Runs @touch in a child that shares the memory, the files and the CPUs of the calling thread, but
 * not its signal handlers: SIGBUS or SIGSEGV ends the child alone. The calling thread is suspended
 * meanwhile (as by vfork(2)), so @touch may use whatever belongs to the thread; it must take no
 * lock, which a child that is killed would never release.
 *
 * Returns 0 when the child has ended, however it did; -errno when there was none: -EAGAIN
 * (RLIMIT_NPROC, pids.max), -ENOSYS under valgrind.
 */
int vfb_linux_run_child(void (*touch)(void *arg), void *arg);

int vfb_linux_touch_range(const struct vfb_sys *sys, struct vfb_touch *touch);

#endif
