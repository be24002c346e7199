/* SPDX-License-Identifier: MIT */
#include "next.h"

#include <dlfcn.h>

struct next next;

void next_find(void)
{
	next.ioctl = (__typeof__(next.ioctl))dlsym(RTLD_NEXT, "ioctl");
	next.close = (__typeof__(next.close))dlsym(RTLD_NEXT, "close");
	next.close_range = (__typeof__(next.close_range))dlsym(RTLD_NEXT, "close_range");
	next.dup2 = (__typeof__(next.dup2))dlsym(RTLD_NEXT, "dup2");
	next.dup3 = (__typeof__(next.dup3))dlsym(RTLD_NEXT, "dup3");
	next.unshare = (__typeof__(next.unshare))dlsym(RTLD_NEXT, "unshare");
	next.setns = (__typeof__(next.setns))dlsym(RTLD_NEXT, "setns");
	next.capset = (__typeof__(next.capset))dlsym(RTLD_NEXT, "capset");
	next.prctl = (__typeof__(next.prctl))dlsym(RTLD_NEXT, "prctl");
	next.syscall = (__typeof__(next.syscall))dlsym(RTLD_NEXT, "syscall");
	next.madvise = (__typeof__(next.madvise))dlsym(RTLD_NEXT, "madvise");
	next.mmap = (__typeof__(next.mmap))dlsym(RTLD_NEXT, "mmap");
}
