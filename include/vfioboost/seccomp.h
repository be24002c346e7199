/* SPDX-License-Identifier: MIT */
/**
 * @file seccomp.h
 * Which system calls the library makes, for a program that filters its own (seccomp(2)).
 *
 * A thread inherits the filters of the thread that creates it. So create the context before the
 * filter is installed, with vfb_ctx_opts.devices, so that all threads exist by then: they keep the
 * rights that they were created with, and threads of the program with a filter of
 * VFB_SECCOMP_CALLER can do everything else. Or install a filter of VFB_SECCOMP_CREATE first, which
 * the threads of the library then inherit.
 *
 * The lists include what glibc and liburcu do on the library's behalf. Callbacks run in threads of
 * the library as well: add what they do. Not included are vfb_reaper_start() and
 * vfb_trace_create(), which start a process or a thread: call them before the filter is installed.
 */
#ifndef VFIOBOOST_SECCOMP_H
#define VFIOBOOST_SECCOMP_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Who makes the calls. */
enum vfb_seccomp_role {
	/** The threads of the library. */
	VFB_SECCOMP_THREAD,
	/** A thread that calls vfb_ctx_create(), or any function of a context that was created
	 * without vfb_ctx_opts.devices; and the threads that it creates by that. */
	VFB_SECCOMP_CREATE,
	/** A thread that calls any other function of a context with vfb_ctx_opts.devices. */
	VFB_SECCOMP_CALLER,
};

/** A system call. */
struct vfb_seccomp_call {
	/** Its number on this architecture. */
	uint32_t number;
	uint32_t reserved;
	/** Of ioctl(2): the request, its second argument. There is one entry for each request. 0:
	 * any other call, with whatever arguments. */
	uint64_t request;
	/** Its name, or that of the request. The string is static. */
	const char *name;
};

/**
 * Lists the system calls that a thread makes for the library, in no particular order. The list is
 * that of this version of the library: ask for it at run time.
 *
 * @param role   whose calls
 * @param calls  receives the first @p count calls
 * @param count  capacity of @p calls
 *
 * @return the number of calls, which may exceed @p count; -EINVAL: unknown role.
 */
VFB_API int vfb_seccomp_calls(enum vfb_seccomp_role role, struct vfb_seccomp_call *calls,
			      size_t count);

#ifdef __cplusplus
}
#endif

#endif
