/* SPDX-License-Identifier: MIT */
/**
 * @file context.h
 * The library in one process: its workers, its subscribers, its settings.
 *
 * There is no global state: a process may have several contexts, and two parts of it need not
 * know of each other. Every object belongs to the context it was created with and must be
 * destroyed before it.
 *
 * Conventions of the whole library
 *  - Functions that return int return 0, or a negative errno value. On failure nothing has
 *    changed, out-parameters are NULL, and vfb_last_error() tells what to do about it.
 *  - Sizes, offsets and IOVAs are in bytes, times in nanoseconds of CLOCK_MONOTONIC.
 *  - Structs that begin with `size_t size` are given their own sizeof() there, by hand or by the
 *    VFB_..._INIT macro beside them. A struct larger than the library's, with anything but zero
 *    in the part that the library does not know, is refused with -E2BIG.
 *  - Unless it says otherwise, a function may be called from any thread at any time; only an
 *    object that is being destroyed must not be in use elsewhere.
 *  - The library never prints, exits, aborts or installs a signal handler, and its threads have
 *    all signals blocked. File descriptors are close-on-exec.
 */
#ifndef VFIOBOOST_CONTEXT_H
#define VFIOBOOST_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

/** The initial value of a struct that begins with its size: the rest is zero. */
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

/** The version of the interface that these headers describe. */
#define VFB_VERSION_MAJOR 0
#define VFB_VERSION_MINOR 1

/** The library in one process. */
struct vfb_ctx;

/** Settings of a context; zero is a good choice for each. */
struct vfb_ctx_opts {
	size_t size;
	/**
	 * How many worker threads populate and map memory. 0: one for each CPU that the calling
	 * thread may run on, but no more than the CPU quota of its cgroup (cpu.max of version 2,
	 * rounded up) keeps busy. The workers are spread over the NUMA nodes in proportion to the
	 * CPUs that the caller may use there, and each is bound to those CPUs of its node.
	 */
	unsigned int threads;
	/** VFB_CTX_... */
	uint32_t flags;
};

#define VFB_CTX_OPTS_INIT VFB_SIZED(struct vfb_ctx_opts)

/**
 * Lets subscribers see every system call that is made for the context, as events of
 * VFB_PHASE_SYSCALL, as `strace -T` would. Reading clocks, and threads that wait for each other,
 * are left out. Without the flag such events don't exist, and a system call costs nothing more.
 */
#define VFB_CTX_SYSCALLS (1u << 0)

/**
 * Creates a context and starts its workers.
 *
 * @param opts  settings, or NULL for the default ones
 * @param out   the context, to be given to vfb_ctx_destroy()
 *
 * @return 0; -EINVAL: more than 4096 threads, or an unknown flag; -EAGAIN: the system refused a
 * thread (see RLIMIT_NPROC and the pids cgroup); -ENOMEM; -E2BIG.
 */
VFB_API int vfb_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out);

/**
 * Ends the workers and frees the context.
 *
 * @param ctx  the context; NULL is allowed
 *
 * @return 0; -EBUSY: a space, memory, job or subscription made with it still exists.
 */
VFB_API int vfb_ctx_destroy(struct vfb_ctx *ctx);

/**
 * Limits how fast all workers of the context together populate memory, so that the start of one
 * guest does not take the memory bandwidth from others on the host. May be changed while work
 * runs. Without a call of it there is no limit.
 *
 * @param ctx          the context
 * @param bytes_per_s  bytes in a second, 1 MiB or more; UINT64_MAX: no limit
 *
 * @return 0; -EINVAL: less than 1 MiB a second.
 */
VFB_API int vfb_ctx_set_populate_rate(struct vfb_ctx *ctx, uint64_t bytes_per_s);

/**
 * What went wrong in the last call of this thread that failed, and what can be done about it,
 * for a person to read: "mapping 8 GiB needs RLIMIT_MEMLOCK of at least 8 GiB, it is 64 MiB:
 * raise it or grant CAP_IPC_LOCK". For work that ran in a job, vfb_job_wait() makes it the last
 * error of the thread that calls it.
 *
 * @return text that is valid until the next call of this thread that fails; "" before the first.
 */
VFB_API const char *vfb_last_error(void);

/** The version of the library that runs, as "MAJOR.MINOR.PATCH". */
VFB_API const char *vfb_version(void);

/**
 * Settings of one batch (of maps, unmaps, opens or closes); zero is a good choice for each.
 */
struct vfb_batch_opts {
	size_t size;
	/**
	 * How many entries are worked on at once, and the most pieces of one entry. 0: as many as
	 * the machine and the kernel gain from. 1: one after another, each in one piece, as a
	 * program without this library would do.
	 */
	unsigned int width;
	/** VFB_BATCH_... */
	uint32_t flags;
	/**
	 * How long the batch may take; 0: as long as it does. When the time is over, the job is
	 * cancelled and ends with -ETIMEDOUT (see vfb_job_cancel() for what that means). A batch
	 * that closes cannot be cancelled: it ends, and the devices go on to be closed. One that
	 * unmaps, or resets, doesn't look at it.
	 */
	uint64_t timeout_ns;
};

#define VFB_BATCH_OPTS_INIT VFB_SIZED(struct vfb_batch_opts)

/**
 * Keep the entries that succeeded when another fails. Without it a batch is all or nothing:
 * what it had done is undone. The call fails either way, and each entry has its status.
 */
#define VFB_BATCH_BEST_EFFORT (1u << 0)

/**
 * When mapping: ranges that follow each other in IOVA and in memory, with the same access and
 * priority, become one mapping. That takes fewer calls and fewer of the kernel's mappings, but
 * they can only be unmapped together. Without it that is done where the ranges would be more
 * than the mappings that the kernel has left (type1: dma_entry_limit), and only there.
 */
#define VFB_BATCH_COALESCE (1u << 1)

#ifdef __cplusplus
}
#endif

#endif
