/* SPDX-License-Identifier: MIT */
#ifndef VFB_SYS_H
#define VFB_SYS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What fstat(2) and fstatfs(2) report of an open file. */
struct vfb_sys_file {
	/* Of the file system, as /proc/PID/maps prints them. */
	unsigned int major, minor;
	uint64_t inode, bytes;
	/* A page of hugetlbfs, else a base page. */
	uint64_t page_bytes;
	bool is_regular;
};

/*
 * Every system call of the library, replaceable. Nothing outside lib/sys asks the kernel for
 * anything: the fake kernel of the tests implements this table, and a seccomp policy can be
 * written by reading lib/sys/linux.c.
 *
 * Conventions: an int or ssize_t result is negative errno on failure; the first argument is the
 * table itself, so that an implementation can embed it in a larger struct. No lock of the
 * library is held across a call that may sleep (open, close, ioctl, sleep), which lets an
 * implementation stop the caller and advance a virtual clock. The fake kernel checks that.
 */
struct vfb_sys {
	/* Files. Paths are absolute. */
	int (*open)(const struct vfb_sys *sys, const char *path, int flags);
	void (*close)(const struct vfb_sys *sys, int fd);
	ssize_t (*pread)(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, off_t offset);
	ssize_t (*pwrite)(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes,
			  off_t offset);
	/* The link's target, NUL-terminated; -ENAMETOOLONG when it does not fit. */
	int (*readlink)(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes);
	/* The resolved path of a file, NUL-terminated, as realpath(3). */
	int (*realpath)(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes);
	/*
	 * Calls @each with every name in a directory but "." and "..", in no particular order,
	 * until it returns non-zero; that value is the result.
	 */
	int (*list)(const struct vfb_sys *sys, const char *path,
		    int (*each)(const char *name, void *arg), void *arg);
	/* The value that the ioctl returned (>= 0). */
	int (*ioctl)(const struct vfb_sys *sys, int fd, unsigned long request, void *arg);

	/* Memory. */
	int (*mmap)(const struct vfb_sys *sys, void *addr, size_t bytes, int prot, int flags,
		    int fd, off_t offset, void **out);
	int (*munmap)(const struct vfb_sys *sys, void *addr, size_t bytes);
	int (*madvise)(const struct vfb_sys *sys, void *addr, size_t bytes, int advice);
	/* mincore(2): bit 0 of a byte for each base page; -ENOMEM: some of it is not mapped. */
	int (*mincore)(const struct vfb_sys *sys, void *addr, size_t bytes, unsigned char *present);
	/*
	 * Makes the page at @addr, aligned to 4 bytes, present as a write to it would, but leaves
	 * what is in it: -EFAULT where a write would raise SIGBUS or SIGSEGV.
	 */
	int (*touch)(const struct vfb_sys *sys, void *addr);
	int (*memfd_create)(const struct vfb_sys *sys, const char *name, unsigned int flags);
	int (*ftruncate)(const struct vfb_sys *sys, int fd, off_t bytes);
	int (*file_info)(const struct vfb_sys *sys, int fd, struct vfb_sys_file *file);
	/* fcntl(2) F_ADD_SEALS; and the mode of the file, fchmod(2). */
	int (*add_seals)(const struct vfb_sys *sys, int fd, int seals);
	int (*fchmod)(const struct vfb_sys *sys, int fd, mode_t mode);
	/* flock(2) LOCK_EX: waits; closing releases it. */
	int (*lock_file)(const struct vfb_sys *sys, int fd);
	/* mbind(2) without flags; @mode is MPOL_*; @nodes lists @count node numbers. */
	int (*mbind)(const struct vfb_sys *sys, void *addr, size_t bytes, int mode,
		     const unsigned int *nodes, size_t count);
	/*
	 * get_mempolicy(2) of the page at @addr: the mode, MPOL_* without flags, and up to @room
	 * of its nodes. Returns how many those are; MPOL_DEFAULT has none.
	 */
	int (*get_mempolicy)(const struct vfb_sys *sys, void *addr, int *mode, unsigned int *nodes,
			     size_t room);
	/* move_pages(2) as a query: node or -errno of each page, into @nodes. */
	int (*page_nodes)(const struct vfb_sys *sys, void *const *pages, size_t count, int *nodes);

	/* The machine. */
	/* The number of the highest possible node, 0 on a machine without NUMA. */
	int (*max_node)(const struct vfb_sys *sys);
	/* The CPUs of @node; -ENOENT when there is no such node. It may have none. */
	int (*node_cpus)(const struct vfb_sys *sys, unsigned int node, cpu_set_t *cpus);
	int (*get_affinity)(const struct vfb_sys *sys, cpu_set_t *cpus);
	/* The soft limit of RLIMIT_MEMLOCK in bytes, UINT64_MAX when there is none. */
	int (*memlock_limit)(const struct vfb_sys *sys, uint64_t *bytes);

	/* Time: CLOCK_MONOTONIC in nanoseconds. */
	uint64_t (*now)(const struct vfb_sys *sys);
	void (*sleep)(const struct vfb_sys *sys, uint64_t ns);

	/* Threads. */
	/* A thread with all signals blocked, bound to @cpus when that is not NULL. */
	int (*thread_create)(const struct vfb_sys *sys, const char *name, const cpu_set_t *cpus,
			     void *(*run)(void *arg), void *arg, pthread_t *out);
	void (*thread_join)(const struct vfb_sys *sys, pthread_t thread);
	/*
	 * As pthread_cond_timedwait() on CLOCK_MONOTONIC, until @deadline_ns (UINT64_MAX: without
	 * end): 0 or -ETIMEDOUT. May wake without reason. Conditions are woken with their mutex
	 * held.
	 */
	int (*cond_wait)(const struct vfb_sys *sys, pthread_cond_t *cond, pthread_mutex_t *mutex,
			 uint64_t deadline_ns);
	/* Wakes one of those that wait at least. */
	void (*cond_signal)(const struct vfb_sys *sys, pthread_cond_t *cond);
	void (*cond_broadcast)(const struct vfb_sys *sys, pthread_cond_t *cond);
	/* Processes. */
	/* pipe(2), close-on-exec: the end to read from, the end to write to; and writing. */
	int (*pipe)(const struct vfb_sys *sys, int ends[2]);
	ssize_t (*write)(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes);
	/*
	 * Starts a program in a session of its own, without environment, with duplicates of @fds
	 * as its descriptors from 3 on, and no others of the caller's. It must fork, write the
	 * pid_t of its child to descriptor 1, and exit: the child has nobody to wait for it and
	 * leaves no zombie. @process: a pidfd of the child (Linux 5.4).
	 * wait_process() waits for its end, and closes that.
	 */
	int (*spawn)(const struct vfb_sys *sys, const char *program, char *const *argv,
		     const int *fds, size_t count, int *process);
	void (*wait_process)(const struct vfb_sys *sys, int process);
	int (*process_id)(const struct vfb_sys *sys);
	/* The CPU this thread runs on, and its thread id. */
	int (*current_cpu)(const struct vfb_sys *sys);
	int (*current_thread)(const struct vfb_sys *sys);
	/* Minor page faults of this thread so far. */
	uint64_t (*minor_faults)(const struct vfb_sys *sys);
	/* An eventfd(2), counter 0, non-blocking, close-on-exec; and adding 1 to it. */
	int (*eventfd)(const struct vfb_sys *sys);
	void (*eventfd_signal)(const struct vfb_sys *sys, int fd);
};

/* The running kernel. */
extern const struct vfb_sys vfb_sys_linux;

/*
 * Reads a file of sysfs that has one value, NUL-terminated, without its trailing newline. Returns
 * the length, -EFBIG when it does not fit. Not for files of several lines, whose length nobody
 * knows: those are read by the functions below.
 */
ssize_t vfb_sys_read_file(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes);

/*
 * Calls @each with every line of a file of /proc, without its newline, until it returns false.
 * Of a line longer than 8 KiB (the groups in /proc/self/status, say) it gets the beginning.
 * Returns 0 or a negative errno.
 */
int vfb_sys_each_line(const struct vfb_sys *sys, const char *path,
		      bool (*each)(const char *line, void *arg), void *arg);

/* A number behind a name and a colon in a file of lines, such as MemFree in /proc/meminfo. */
struct vfb_field {
	const char *name;
	int base;
	/* Set by vfb_sys_read_fields(), which wants them to be zero. */
	bool found;
	uint64_t value;
};

/* Reads the fields, also of a node's meminfo. -ENODATA: not all of them are there. */
int vfb_sys_read_fields(const struct vfb_sys *sys, const char *path, struct vfb_field *fields,
			size_t count);

/* Writes @text to a file that is there, such as one of sysfs, with one call. */
int vfb_sys_write_file(const struct vfb_sys *sys, const char *path, const char *text);

/*
 * Calls @each with the limits in @file ("cpu.max") of the process's cgroup (version 2) and of those
 * above it, the nearest first, but for those that say "max". @period: the file's second number, 0
 * without one. Returns -ENOENT and the like where there are no cgroups.
 */
int vfb_sys_cgroup(const struct vfb_sys *sys, const char *file,
		   void (*each)(const char *path, uint64_t limit, uint64_t period, void *arg),
		   void *arg);

#endif
