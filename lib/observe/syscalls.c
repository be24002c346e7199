/* SPDX-License-Identifier: MIT */
#include "observe/syscalls.h"

#include "observe/span.h"
#include "sys/ioctl_name.h"

static struct vfb_timed_sys *timed_of(const struct vfb_sys *sys)
{
	return (struct vfb_timed_sys *)(uintptr_t)sys;
}

#define SYS const struct vfb_sys *sys

/*
 * A timed call. @operation is the kernel's name, @about the number of bytes concerned, and @args
 * are the names of the parameters.
 */
#define TIMED(type, name, params, operation_, about, ...)                            \
	static type timed_##name params                                              \
	{                                                                            \
		struct vfb_timed_sys *timed = timed_of(sys);                         \
		struct vfb_span span;                                                \
		type result;                                                         \
                                                                                     \
		vfb_observe_begin(&span, timed->observer, VFB_PHASE_SYSCALL);        \
		result = timed->inner->name(timed->inner, ##__VA_ARGS__);            \
		vfb_observe_end(&span, .operation = (operation_), .bytes = (about),  \
				.result = result < 0 ? (int)result : 0, .node = -1); \
		return result;                                                       \
	}
#define TIMED_VOID(name, params, operation_, ...)                              \
	static void timed_##name params                                        \
	{                                                                      \
		struct vfb_timed_sys *timed = timed_of(sys);                   \
		struct vfb_span span;                                          \
                                                                               \
		vfb_observe_begin(&span, timed->observer, VFB_PHASE_SYSCALL);  \
		timed->inner->name(timed->inner, ##__VA_ARGS__);               \
		vfb_observe_end(&span, .operation = (operation_), .node = -1); \
	}
/* Calls that do not enter the kernel, or wait for other threads of the library: not timed. */
#define HAND_ON(type, name, params, ...)                            \
	static type handed_##name params                            \
	{                                                           \
		const struct vfb_sys *inner = timed_of(sys)->inner; \
                                                                    \
		return inner->name(inner, ##__VA_ARGS__);           \
	}
#define HAND_ON_VOID(name, params, ...)                             \
	static void handed_##name params                            \
	{                                                           \
		const struct vfb_sys *inner = timed_of(sys)->inner; \
                                                                    \
		inner->name(inner, ##__VA_ARGS__);                  \
	}

TIMED(int, open, (SYS, const char *path, int flags), "openat", 0, path, flags)
TIMED_VOID(close, (SYS, int fd), "close", fd)
TIMED(ssize_t, pread, (SYS, int fd, void *buf, size_t bytes, off_t offset), "pread64", bytes, fd,
      buf, bytes, offset)
TIMED(ssize_t, pwrite, (SYS, int fd, const void *buf, size_t bytes, off_t offset), "pwrite64",
      bytes, fd, buf, bytes, offset)
TIMED(int, readlink, (SYS, const char *path, char *buf, size_t bytes), "readlink", 0, path, buf,
      bytes)
TIMED(int, realpath, (SYS, const char *path, char *buf, size_t bytes), "realpath", 0, path, buf,
      bytes)
TIMED(int, list, (SYS, const char *path, int (*each)(const char *name, void *arg), void *arg),
      "getdents64", 0, path, each, arg)
TIMED(int, ioctl, (SYS, int fd, unsigned long request, void *arg), vfb_ioctl_request_name(request),
      0, fd, request, arg)
TIMED(int, mmap,
      (SYS, void *addr, size_t bytes, int prot, int flags, int fd, off_t offset, void **out),
      "mmap", bytes, addr, bytes, prot, flags, fd, offset, out)
TIMED(int, munmap, (SYS, void *addr, size_t bytes), "munmap", bytes, addr, bytes)
TIMED(int, madvise, (SYS, void *addr, size_t bytes, int advice), "madvise", bytes, addr, bytes,
      advice)
TIMED(int, mincore, (SYS, void *addr, size_t bytes, unsigned char *present), "mincore", bytes, addr,
      bytes, present)
HAND_ON(int, touch, (SYS, void *addr), addr)
TIMED(int, memfd_create, (SYS, const char *name, unsigned int flags), "memfd_create", 0, name,
      flags)
TIMED(int, ftruncate, (SYS, int fd, off_t bytes), "ftruncate", bytes, fd, bytes)
TIMED(int, file_info, (SYS, int fd, struct vfb_sys_file *file), "fstat", 0, fd, file)
TIMED(int, add_seals, (SYS, int fd, int seals), "fcntl", 0, fd, seals)
TIMED(int, fchmod, (SYS, int fd, mode_t mode), "fchmod", 0, fd, mode)
TIMED(int, lock_file, (SYS, int fd), "flock", 0, fd)
TIMED(int, mbind,
      (SYS, void *addr, size_t bytes, int mode, const unsigned int *nodes, size_t count), "mbind",
      bytes, addr, bytes, mode, nodes, count)
TIMED(int, get_mempolicy, (SYS, void *addr, int *mode, unsigned int *nodes, size_t room),
      "get_mempolicy", 0, addr, mode, nodes, room)
TIMED(int, page_nodes, (SYS, void *const *pages, size_t count, int *nodes), "move_pages", 0, pages,
      count, nodes)
HAND_ON(int, max_node, (SYS))
HAND_ON(int, node_cpus, (SYS, unsigned int node, cpu_set_t *cpus), node, cpus)
TIMED(int, get_affinity, (SYS, cpu_set_t *cpus), "sched_getaffinity", 0, cpus)
TIMED(int, memlock_limit, (SYS, uint64_t *bytes), "prlimit64", 0, bytes)
HAND_ON(uint64_t, now, (SYS))
TIMED_VOID(sleep, (SYS, uint64_t ns), "clock_nanosleep", ns)
TIMED(int, thread_create,
      (SYS, const char *name, const cpu_set_t *cpus, void *(*run)(void *arg), void *arg,
       pthread_t *out),
      "clone3", 0, name, cpus, run, arg, out)
HAND_ON_VOID(thread_join, (SYS, pthread_t thread), thread)
HAND_ON(int, cond_wait, (SYS, pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns),
	cond, mutex, deadline_ns)
HAND_ON_VOID(cond_signal, (SYS, pthread_cond_t *cond), cond)
HAND_ON_VOID(cond_broadcast, (SYS, pthread_cond_t *cond), cond)
HAND_ON(int, current_cpu, (SYS))
HAND_ON(int, current_thread, (SYS))
HAND_ON(uint64_t, minor_faults, (SYS))
TIMED(int, pipe, (SYS, int ends[2]), "pipe2", 0, ends)
TIMED(ssize_t, write, (SYS, int fd, const void *buf, size_t bytes), "write", bytes, fd, buf, bytes)
TIMED(int, spawn,
      (SYS, const char *program, char *const *argv, const int *fds, size_t count, int *process),
      "clone", 0, program, argv, fds, count, process)
TIMED_VOID(wait_process, (SYS, int process), "wait4", process)
HAND_ON(int, process_id, (SYS))
TIMED(int, eventfd, (SYS), "eventfd2", 0)
HAND_ON_VOID(eventfd_signal, (SYS, int fd), fd)

/* A new call of struct vfb_sys must be added here, timed or passed through. */
_Static_assert(sizeof(struct vfb_sys) == 43 * sizeof(void (*)(void)), "all calls are known");

void vfb_timed_sys_init(struct vfb_timed_sys *timed, const struct vfb_sys *inner,
			struct vfb_observer *observer)
{
	timed->inner = inner;
	timed->observer = observer;
	timed->sys = (struct vfb_sys){
		.open = timed_open,
		.close = timed_close,
		.pread = timed_pread,
		.pwrite = timed_pwrite,
		.readlink = timed_readlink,
		.realpath = timed_realpath,
		.list = timed_list,
		.ioctl = timed_ioctl,
		.mmap = timed_mmap,
		.munmap = timed_munmap,
		.madvise = timed_madvise,
		.mincore = timed_mincore,
		.touch = handed_touch,
		.memfd_create = timed_memfd_create,
		.ftruncate = timed_ftruncate,
		.file_info = timed_file_info,
		.add_seals = timed_add_seals,
		.fchmod = timed_fchmod,
		.lock_file = timed_lock_file,
		.mbind = timed_mbind,
		.get_mempolicy = timed_get_mempolicy,
		.page_nodes = timed_page_nodes,
		.max_node = handed_max_node,
		.node_cpus = handed_node_cpus,
		.get_affinity = timed_get_affinity,
		.memlock_limit = timed_memlock_limit,
		.now = handed_now,
		.sleep = timed_sleep,
		.thread_create = timed_thread_create,
		.thread_join = handed_thread_join,
		.cond_wait = handed_cond_wait,
		.cond_signal = handed_cond_signal,
		.cond_broadcast = handed_cond_broadcast,
		.current_cpu = handed_current_cpu,
		.current_thread = handed_current_thread,
		.minor_faults = handed_minor_faults,
		.pipe = timed_pipe,
		.write = timed_write,
		.spawn = timed_spawn,
		.wait_process = timed_wait_process,
		.process_id = handed_process_id,
		.eventfd = timed_eventfd,
		.eventfd_signal = handed_eventfd_signal,
	};
}
