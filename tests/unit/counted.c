/* SPDX-License-Identifier: MIT */
#include "counted.h"

static struct counted *counted_of(const struct vfb_sys *sys)
{
	return (struct counted *)(uintptr_t)sys;
}

#define SYS const struct vfb_sys *sys

/* Hands a call on; @args are the parameters' names. */
#define HAND_ON(type, name, params, ...)                              \
	static type count_##name params                               \
	{                                                             \
		const struct vfb_sys *inner = counted_of(sys)->inner; \
                                                                      \
		return inner->name(inner, ##__VA_ARGS__);             \
	}
#define HAND_ON_VOID(name, params, ...)                               \
	static void count_##name params                               \
	{                                                             \
		const struct vfb_sys *inner = counted_of(sys)->inner; \
                                                                      \
		inner->name(inner, ##__VA_ARGS__);                    \
	}
#define COUNT(type, name)                                    \
	static type count_##name(SYS)                        \
	{                                                    \
		struct counted *counted = counted_of(sys);   \
                                                             \
		atomic_fetch_add(&counted->name, 1);         \
		return counted->inner->name(counted->inner); \
	}

HAND_ON(int, open, (SYS, const char *path, int flags), path, flags)
HAND_ON_VOID(close, (SYS, int fd), fd)
HAND_ON(ssize_t, pread, (SYS, int fd, void *buf, size_t bytes, off_t offset), fd, buf, bytes,
	offset)
HAND_ON(ssize_t, pwrite, (SYS, int fd, const void *buf, size_t bytes, off_t offset), fd, buf, bytes,
	offset)
HAND_ON(int, readlink, (SYS, const char *path, char *buf, size_t bytes), path, buf, bytes)
HAND_ON(int, realpath, (SYS, const char *path, char *buf, size_t bytes), path, buf, bytes)
HAND_ON(int, list, (SYS, const char *path, int (*each)(const char *name, void *arg), void *arg),
	path, each, arg)
HAND_ON(int, ioctl, (SYS, int fd, unsigned long request, void *arg), fd, request, arg)
HAND_ON(int, mmap,
	(SYS, void *addr, size_t bytes, int prot, int flags, int fd, off_t offset, void **out),
	addr, bytes, prot, flags, fd, offset, out)
HAND_ON(int, munmap, (SYS, void *addr, size_t bytes), addr, bytes)
HAND_ON(int, madvise, (SYS, void *addr, size_t bytes, int advice), addr, bytes, advice)
HAND_ON(int, mincore, (SYS, void *addr, size_t bytes, unsigned char *present), addr, bytes, present)
HAND_ON(int, touch, (SYS, void *addr), addr)
HAND_ON(int, memfd_create, (SYS, const char *name, unsigned int flags), name, flags)
HAND_ON(int, ftruncate, (SYS, int fd, off_t bytes), fd, bytes)
HAND_ON(int, file_info, (SYS, int fd, struct vfb_sys_file *file), fd, file)
HAND_ON(int, add_seals, (SYS, int fd, int seals), fd, seals)
HAND_ON(int, fchmod, (SYS, int fd, mode_t mode), fd, mode)
HAND_ON(int, lock_file, (SYS, int fd), fd)
HAND_ON(int, mbind,
	(SYS, void *addr, size_t bytes, int mode, const unsigned int *nodes, size_t count), addr,
	bytes, mode, nodes, count)
HAND_ON(int, get_mempolicy, (SYS, void *addr, int *mode, unsigned int *nodes, size_t room), addr,
	mode, nodes, room)
HAND_ON(int, page_nodes, (SYS, void *const *pages, size_t count, int *nodes), pages, count, nodes)
HAND_ON(int, max_node, (SYS))
HAND_ON(int, node_cpus, (SYS, unsigned int node, cpu_set_t *cpus), node, cpus)
HAND_ON(int, get_affinity, (SYS, cpu_set_t *cpus), cpus)
HAND_ON(int, memlock_limit, (SYS, uint64_t *bytes), bytes)
COUNT(uint64_t, now)
HAND_ON_VOID(sleep, (SYS, uint64_t ns), ns)
HAND_ON(int, thread_create,
	(SYS, const char *name, const cpu_set_t *cpus, void *(*run)(void *arg), void *arg,
	 pthread_t *out),
	name, cpus, run, arg, out)
HAND_ON_VOID(thread_join, (SYS, pthread_t thread), thread)
HAND_ON(int, cond_wait, (SYS, pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns),
	cond, mutex, deadline_ns)
HAND_ON_VOID(cond_signal, (SYS, pthread_cond_t *cond), cond)
HAND_ON_VOID(cond_broadcast, (SYS, pthread_cond_t *cond), cond)
COUNT(int, current_cpu)
COUNT(int, current_thread)
HAND_ON(uint64_t, minor_faults, (SYS))
HAND_ON(int, pipe, (SYS, int ends[2]), ends)
HAND_ON(ssize_t, write, (SYS, int fd, const void *buf, size_t bytes), fd, buf, bytes)
HAND_ON(int, spawn,
	(SYS, const char *program, char *const *argv, const int *fds, size_t count, int *process),
	program, argv, fds, count, process)
HAND_ON_VOID(wait_process, (SYS, int process), process)
HAND_ON(int, process_id, (SYS))
HAND_ON(int, eventfd, (SYS))
HAND_ON_VOID(eventfd_signal, (SYS, int fd), fd)

/* A call that is new there is to be handed on here. */
_Static_assert(sizeof(struct vfb_sys) == 43 * sizeof(void (*)(void)), "all calls are handed on");

void counted_init(struct counted *counted, const struct vfb_sys *inner)
{
	*counted = (struct counted){
		.inner = inner,
		.sys =
			{
				.open = count_open,
				.close = count_close,
				.pread = count_pread,
				.pwrite = count_pwrite,
				.readlink = count_readlink,
				.realpath = count_realpath,
				.list = count_list,
				.ioctl = count_ioctl,
				.mmap = count_mmap,
				.munmap = count_munmap,
				.madvise = count_madvise,
				.mincore = count_mincore,
				.touch = count_touch,
				.memfd_create = count_memfd_create,
				.ftruncate = count_ftruncate,
				.file_info = count_file_info,
				.add_seals = count_add_seals,
				.fchmod = count_fchmod,
				.lock_file = count_lock_file,
				.mbind = count_mbind,
				.get_mempolicy = count_get_mempolicy,
				.page_nodes = count_page_nodes,
				.max_node = count_max_node,
				.node_cpus = count_node_cpus,
				.get_affinity = count_get_affinity,
				.memlock_limit = count_memlock_limit,
				.now = count_now,
				.sleep = count_sleep,
				.thread_create = count_thread_create,
				.thread_join = count_thread_join,
				.cond_wait = count_cond_wait,
				.cond_signal = count_cond_signal,
				.cond_broadcast = count_cond_broadcast,
				.current_cpu = count_current_cpu,
				.current_thread = count_current_thread,
				.minor_faults = count_minor_faults,
				.pipe = count_pipe,
				.write = count_write,
				.spawn = count_spawn,
				.wait_process = count_wait_process,
				.process_id = count_process_id,
				.eventfd = count_eventfd,
				.eventfd_signal = count_eventfd_signal,
			},
	};
}
