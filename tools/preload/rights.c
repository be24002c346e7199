/* SPDX-License-Identifier: MIT */
/*
 * What changes the rights of the command. Threads of ours must not keep what it gives up, nor keep
 * it from what the kernel refuses to a process with several threads.
 */
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "next.h"
#include "preload.h"

/* Nothing of ours runs while the process changes what it may do: the threads that are made next
 * have what it has then. */
static void rights_change(void)
{
	if (!preload_records || preload_inside)
		return;
	preload_inside = true;
	preload_check_process();
	/* A child of vfork(2) has the threads of its parent. */
	if (getpid() == preload_process)
		preload_end_threads();
	preload_inside = false;
}

/* The kernel refuses new user namespaces to a process with several threads. */
EXPORT int unshare(int flags)
{
	rights_change();
	return NEXT(unshare)(flags);
}

EXPORT int setns(int fd, int type)
{
	rights_change();
	return NEXT(setns)(fd, type);
}

/* The C library has it without a declaration. */
int capset(void *header, const void *data);

/* Of this thread alone: threads of ours would keep the capabilities that are given up. */
EXPORT int capset(void *header, const void *data)
{
	rights_change();
	return NEXT(capset)(header, data);
}

/* The command itself may make its first use of VFIO behind the filter. */
static void rights_before_filter(void)
{
	if (!preload_records || preload_inside)
		return;
	preload_inside = true;
	preload_check_process();
	if (preload_settings.boost && preload_settings.process == preload_process)
		preload_context();
	preload_inside = false;
}

EXPORT int prctl(int option, ...)
{
	unsigned long values[4];
	va_list arguments;
	int result;

	va_start(arguments, option);
	for (size_t i = 0; i < 4; i++)
		values[i] = va_arg(arguments, unsigned long);
	va_end(arguments);
	/* Without one it is a question whether the kernel has filters. */
	if (option == PR_SET_SECCOMP && values[1])
		rights_before_filter();
	result = NEXT(prctl)(option, values[0], values[1], values[2], values[3]);
	if (option == PR_SET_SECCOMP && !result)
		preload_set_filter();
	return result;
}

/* What the C library has no function for, or what is meant to change one thread only. */
EXPORT long syscall(long number, ...)
{
	va_list arguments;
	long values[6], result;

	va_start(arguments, number);
	for (size_t i = 0; i < 6; i++)
		values[i] = va_arg(arguments, long);
	va_end(arguments);
	switch (number) {
	case SYS_seccomp:
		if (values[0] == SECCOMP_SET_MODE_FILTER && values[2])
			rights_before_filter();
		break;
	case SYS_unshare:
	case SYS_setns:
	case SYS_capset:
	case SYS_setuid:
	case SYS_setgid:
	case SYS_setreuid:
	case SYS_setregid:
	case SYS_setresuid:
	case SYS_setresgid:
	case SYS_setgroups:
		rights_change();
		break;
	}
	result = NEXT(syscall)(number, values[0], values[1], values[2], values[3], values[4],
			       values[5]);
	if (number == SYS_seccomp && values[0] <= SECCOMP_SET_MODE_FILTER && result >= 0)
		preload_set_filter();
	return result;
}
