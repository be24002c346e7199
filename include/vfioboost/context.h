/* SPDX-License-Identifier: MIT */
/**
 * @file context.h
 * One instance of the library: its workers, subscribers and settings.
 *
 * There is no global state: a process may create several contexts, and two components of a
 * process can use the library without knowing of each other. Every object belongs to the context
 * it was created with and must be destroyed before that context.
 *
 * Conventions of the whole library
 *  - Functions that return int return 0 on success (those that count return the count) and a
 *    negative errno value on failure. After a failure nothing has changed, output pointers are
 *    NULL, and vfb_last_error() describes the cause and the remedy.
 *  - Sizes, offsets and IOVAs are in bytes. Times are in nanoseconds of CLOCK_MONOTONIC.
 *  - A struct that begins with `size_t size` must have its own sizeof() stored there; the
 *    VFB_..._INIT macro beside the struct does that. A struct that is larger than the one the
 *    library knows is accepted if all bytes beyond the known part are zero, and refused with
 *    -E2BIG otherwise. A size smaller than sizeof(size_t) is refused with -EINVAL.
 *  - Set unused fields, reserved ones included, to zero. Unknown flags are refused with -EINVAL.
 *  - Unless its description says otherwise, a function may be called from any thread at any
 *    time. An object must not be in use in another thread while it is being destroyed.
 *  - The library never prints, exits, aborts or installs a signal handler. Its threads block all
 *    signals. The file descriptors it opens are close-on-exec.
 */
#ifndef VFIOBOOST_CONTEXT_H
#define VFIOBOOST_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

/** Initializer of a struct that begins with its size: sets the size, and all else to zero. */
#ifdef __cplusplus
template <typename T> static inline T vfb_sized()
{
	T value = {};

	value.size = sizeof(T);
	return value;
}
#define VFB_SIZED(type) vfb_sized<type>()
#else
/* clang-format off */
#define VFB_SIZED(type) {.size = sizeof(type)}
/* clang-format on */
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VFB_API __attribute__((visibility("default")))
#else
#define VFB_API
#endif

/** The version of the interface that these headers describe; see also vfb_version(). */
#define VFB_VERSION_MAJOR 0
#define VFB_VERSION_MINOR 1

/** One instance of the library. */
struct vfb_ctx;

/** Settings of a context. Zero is a good default for every field. */
struct vfb_ctx_opts {
	size_t size;
	/**
	 * Number of worker threads that populate and map memory, at most 4096. 0: one per CPU in
	 * the affinity mask of the calling thread, but no more than the CPU quota of its cgroup
	 * allows (cpu.max of cgroup v2, rounded up). The workers are distributed over the NUMA
	 * nodes in proportion to the CPUs that the caller may use on each, and each worker is
	 * bound to those CPUs of its node.
	 */
	unsigned int threads;
	/** VFB_CTX_... */
	uint32_t flags;
	/**
	 * For how many devices at a time to have threads, at most 64. If it is not 0, all threads
	 * that the context will ever have are created with it, also those for time limits, so that
	 * callers may be forbidden to create threads (vfioboost/seccomp.h). Further devices of a
	 * batch wait until a thread is free. 0: threads are created when they are needed.
	 */
	unsigned int devices;
};

#define VFB_CTX_OPTS_INIT VFB_SIZED(struct vfb_ctx_opts)

/**
 * Report every system call that is made for the context to its subscribers, as events of
 * VFB_PHASE_SYSCALL, as `strace -T` would print them. Clock reads and waits between threads
 * (futexes) are not reported. Without this flag there are no such events and no overhead.
 */
#define VFB_CTX_SYSCALLS (1u << 0)

/**
 * Creates a context and starts its workers.
 *
 * @param opts  settings, or NULL for the defaults
 * @param out   receives the context; release it with vfb_ctx_destroy()
 *
 * @return 0; -EINVAL: more than 4096 threads, more than 64 devices, or an unknown flag; -EAGAIN:
 * the system refused to create a thread (raise RLIMIT_NPROC or pids.max of the cgroup); -ENOMEM;
 * -E2BIG.
 */
VFB_API int vfb_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out);

/**
 * Stops the workers and frees the context.
 *
 * @param ctx  the context; NULL is allowed and does nothing
 *
 * @return 0; -EBUSY: an object of the context still exists (a space, memory, device, job, reaper
 * or subscription): destroy that first. The context is then unchanged.
 */
VFB_API int vfb_ctx_destroy(struct vfb_ctx *ctx);

/**
 * Limits the rate at which all workers of the context together populate memory, so that the start
 * of one guest does not starve others on the host of memory bandwidth. The rate may be changed
 * while work is in progress. By default there is no limit.
 *
 * @param ctx          the context
 * @param bytes_per_s  bytes per second, at least 1 MiB; UINT64_MAX removes the limit
 *
 * @return 0; -EINVAL: less than 1 MiB per second.
 */
VFB_API int vfb_ctx_set_populate_rate(struct vfb_ctx *ctx, uint64_t bytes_per_s);

/**
 * Describes the most recent failure of a library call in the calling thread: what failed, why,
 * and what to do about it, for a person to read. For example: "mapping 8 GiB needs RLIMIT_MEMLOCK
 * of at least 8 GiB, it is 64 MiB: raise it or grant CAP_IPC_LOCK". The error of a job becomes
 * the last error of the thread that calls vfb_job_wait().
 *
 * @return a string that stays valid until the next failing call in this thread; "" if no call has
 * failed yet. It belongs to the library.
 */
VFB_API const char *vfb_last_error(void);

/** Returns the version of the library that is loaded, as "MAJOR.MINOR.PATCH". */
VFB_API const char *vfb_version(void);

/**
 * Settings of one batch of maps, unmaps, opens, closes or resets. Zero is a good default for every
 * field.
 */
struct vfb_batch_opts {
	size_t size;
	/**
	 * The most entries to process at a time, and the most pieces to split one entry into. 0:
	 * as many as the machine and the kernel benefit from. 1: one entry after another, each in
	 * one piece, as a program without this library would do it.
	 */
	unsigned int width;
	/** VFB_BATCH_... */
	uint32_t flags;
	/**
	 * Time limit of the batch in nanoseconds; 0: none. When it expires, the job is cancelled
	 * (see vfb_job_cancel()) and ends with -ETIMEDOUT. Opening and closing a device cannot be
	 * interrupted: their jobs end at the limit, while devices that are being opened or closed
	 * then are closed in the background. Unmapping and resetting ignore the limit.
	 */
	uint64_t timeout_ns;
	/**
	 * The context's threads work on batches of a higher priority first, and share themselves
	 * out among those of equal priority, by bytes. What a thread has begun, it completes: a
	 * piece of memory, or a device. Batches of at most 16 MiB wait for nobody.
	 */
	int priority;
	uint32_t reserved;
};

#define VFB_BATCH_OPTS_INIT VFB_SIZED(struct vfb_batch_opts)

/**
 * Keep the entries that succeeded when another one fails. Without this flag a batch is all or
 * nothing: a failure undoes what the batch has done. Either way the call fails, and each entry
 * has its own status.
 */
#define VFB_BATCH_BEST_EFFORT (1u << 0)

/**
 * When mapping: merge ranges that are adjacent both in IOVA and in memory, and equal in access and
 * priority, into one kernel mapping. That takes fewer calls and fewer kernel mappings, but the
 * ranges can then only be unmapped together. Without this flag, ranges are merged only when the
 * batch would otherwise exceed the number of mappings that the kernel still allows (type1:
 * dma_entry_limit).
 */
#define VFB_BATCH_COALESCE (1u << 1)

#ifdef __cplusplus
}
#endif

#endif
