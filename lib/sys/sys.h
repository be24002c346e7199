/* SPDX-License-Identifier: MIT */
#ifndef VFB_SYS_H
#define VFB_SYS_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
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
	/* What the file system can hold, and what it has left; UINT64_MAX: no limit. */
	uint64_t total_bytes, free_bytes;
	/* On tmpfs or hugetlbfs. */
	bool is_regular, is_memory;
};

/* What stat(2) reports of a path: its owner and permissions; the numbers of a device node. */
struct vfb_sys_path {
	unsigned int uid, gid, mode;
	/* Of a character or block device. */
	bool is_node, is_block;
	unsigned int major, minor;
};

/* A character or block device, by its number: its file may have any name and lie anywhere. */
struct vfb_node {
	bool is_block;
	unsigned int major, minor;
	/* "/dev/nvme0", for messages. */
	char name[40];
};

/* Pages that are to be touched from the first to the last. */
struct vfb_touch {
	char *address;
	uint64_t bytes, page_bytes;
	/* Ends it early when it becomes true; may be NULL. */
	const atomic_bool *stop;
	/* The result: so many bytes from the beginning have been touched. It changes meanwhile. */
	volatile uint64_t touched;
};

/*
 * Every system call of the library (sys/calls.def), replaceable. Nothing outside lib/sys asks the
 * kernel for anything: the fake kernel of the tests implements this table, and a seccomp policy can
 * be written by reading lib/sys/linux.c.
 *
 * Conventions: an int or ssize_t result is negative errno on failure; the first argument is the
 * table itself, so that an implementation can embed it in a larger struct. No lock of the
 * library is held across a call that may sleep (open, close, ioctl, sleep), which lets an
 * implementation stop the caller and advance a virtual clock. The fake kernel checks that.
 */
struct vfb_sys {
/* clang-format off */
#define TIMED(type, name, parameters, ...) type (*name)parameters;
#define TIMED_VOID(name, parameters, ...) void (*name)parameters;
#define UNTIMED(type, name, parameters, ...) type (*name)parameters;
#define UNTIMED_VOID(name, parameters, ...) void (*name)parameters;
/* clang-format on */
#include "sys/calls.def"
};

/* The running kernel. */
extern const struct vfb_sys vfb_sys_linux;

/* An error that says that a file of proc or sysfs, or what it belongs to, is not there. */
static inline bool vfb_sys_is_absent(int error)
{
	return error == -ENOENT || error == -ENOTDIR;
}

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
 * Calls @each with the folder of the process's cgroup and of those above it, the nearest first:
 * version 1 where @controller is mounted so, else version 2. -ENOENT and the like: no cgroups.
 */
int vfb_sys_each_cgroup(const struct vfb_sys *sys, const char *controller,
			void (*each)(const char *folder, bool v1, void *arg), void *arg);

/*
 * Calls @each with the limits in @file ("cpu.max") of the process's cgroup (version 2) and of those
 * above it, the nearest first, but for those that say "max". @period: the file's second number, 0
 * without one. Returns -ENOENT and the like where there are no cgroups.
 */
int vfb_sys_cgroup(const struct vfb_sys *sys, const char *file,
		   void (*each)(const char *path, uint64_t limit, uint64_t period, void *arg),
		   void *arg);

#endif
