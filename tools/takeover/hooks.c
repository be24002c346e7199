/* SPDX-License-Identifier: MIT */
/* The functions of the C library that are replaced, but those of defer.c. */
/* Fortified headers define open() inline, and it would be another name of open64(). */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "next.h"
#include "sys/uapi.h"
#include "takeover.h"

/* ---- Files of the program, by descriptor ---- */

#define HOOKS_FILES 65536

/* The kind, and the index above it. */
static atomic_uchar hooks_files[HOOKS_FILES];
#define HOOKS_KIND_BITS 2
_Static_assert(VFB_WIRE_DEVICES << HOOKS_KIND_BITS <= UCHAR_MAX + 1, "an index does not fit");

struct takeover_file takeover_file_of(int fd)
{
	unsigned int value = fd >= 0 && fd < HOOKS_FILES ? atomic_load(&hooks_files[fd]) : 0;

	return (struct takeover_file){value & ((1 << HOOKS_KIND_BITS) - 1),
				      value >> HOOKS_KIND_BITS};
}

int takeover_file_add(int fd, enum takeover_kind kind, unsigned int index)
{
	if (fd >= 0 && fd < HOOKS_FILES)
		atomic_store(&hooks_files[fd], index << HOOKS_KIND_BITS | kind);
	return fd;
}

/* Removes the mark of @fd; not in a child that has the memory of its parent. */
static struct takeover_file hooks_take_mark(int fd)
{
	struct takeover_file file = takeover_file_of(fd);

	if (file.kind != TAKEOVER_NONE && !takeover_is_mine())
		file.kind = TAKEOVER_NONE;
	if (file.kind != TAKEOVER_NONE)
		takeover_file_add(fd, TAKEOVER_NONE, 0);
	return file;
}

static void hooks_closed(int fd, struct takeover_file file)
{
	int error = errno;

	if (file.kind != TAKEOVER_NONE)
		takeover_file_closed(fd, file);
	errno = error;
}

EXPORT int close(int fd)
{
	/* Afterwards the number may be that of a file which another thread has opened. */
	struct takeover_file file = hooks_take_mark(fd);
	int result = NEXT(close)(fd);

	hooks_closed(fd, file);
	return result;
}

EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	int result = NEXT(close_range)(first, last, flags);

	for (unsigned int fd = first;
	     !result && !(flags & CLOSE_RANGE_CLOEXEC) && fd <= last && fd < HOOKS_FILES; fd++)
		hooks_closed(fd, hooks_take_mark(fd));
	return result;
}

EXPORT int dup2(int fd, int other)
{
	int result = NEXT(dup2)(fd, other);

	if (result >= 0 && fd != other)
		hooks_closed(other, hooks_take_mark(other));
	return result;
}

EXPORT int dup3(int fd, int other, int flags)
{
	int result = NEXT(dup3)(fd, other, flags);

	if (result >= 0)
		hooks_closed(other, hooks_take_mark(other));
	return result;
}

/* ---- Opening ---- */

/* Files of devices are not created: there is no mode. */
#define HOOKS_OPEN(path, flags, call)                                      \
	do {                                                               \
		mode_t mode = 0;                                           \
		va_list args;                                              \
		int fd = takeover_open(path);                              \
                                                                           \
		if (fd != -2)                                              \
			return fd;                                         \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) { \
			va_start(args, flags);                             \
			mode = va_arg(args, mode_t);                       \
			va_end(args);                                      \
		}                                                          \
		return call;                                               \
	} while (0)

EXPORT int open(const char *path, int flags, ...)
{
	HOOKS_OPEN(path, flags, NEXT(open)(path, flags, mode));
}

EXPORT int open64(const char *path, int flags, ...)
{
	HOOKS_OPEN(path, flags, NEXT(open)(path, flags, mode));
}

EXPORT int openat(int folder, const char *path, int flags, ...)
{
	HOOKS_OPEN(path, flags, NEXT(openat)(folder, path, flags, mode));
}

EXPORT int openat64(int folder, const char *path, int flags, ...)
{
	HOOKS_OPEN(path, flags, NEXT(openat)(folder, path, flags, mode));
}

/* What programs call that were compiled with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

EXPORT int __open_2(const char *path, int flags)
{
	int fd = takeover_open(path);

	return fd == -2 ? NEXT(open)(path, flags) : fd;
}

EXPORT int __open64_2(const char *path, int flags)
{
	int fd = takeover_open(path);

	return fd == -2 ? NEXT(open)(path, flags) : fd;
}

/* ---- Requests ---- */

static bool hooks_answer_locked(int fd, struct takeover_file file, unsigned long request, void *arg,
				int *result)
{
	bool is_active = atomic_load(&takeover_is_active);

	switch (file.kind) {
	case TAKEOVER_IOMMU:
		if (!is_active)
			return false;
		return takeover.settings.grant.group_count ?
			       type1_answer_locked(request, arg, result) :
			       iommufd_answer_locked(request, arg, result);
	case TAKEOVER_GROUP:
		return type1_answer_group_locked(file.index, request, arg, result);
	case TAKEOVER_DEVICE:
		if (!takeover.settings.grant.group_count)
			return iommufd_answer_device_locked(fd, file.index, request, arg, result);
		return request == VFIO_DEVICE_RESET && is_active &&
		       device_answer_reset_locked(file.index, result);
	default:
		return false;
	}
}

static int hooks_ioctl(int fd, struct takeover_file file, unsigned long request, void *arg)
{
	int result, error = errno;
	bool is_answered;

	takeover_lock();
	is_answered = hooks_answer_locked(fd, file, request, arg, &result);
	takeover_unlock();
	if (!is_answered) {
		errno = error;
		return NEXT(ioctl)(fd, request, arg);
	}
	if (result >= 0)
		errno = error;
	return result;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct takeover_file file;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == KVM_RUN) {
		defer_guest_runs();
		return NEXT(ioctl)(fd, request, arg);
	}
	file = takeover_file_of(fd);
	if (file.kind == TAKEOVER_NONE && (request == VFB_VFIO_DEVICE_BIND_IOMMUFD ||
					   request == VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT))
		return iommufd_call_other(fd, request, arg);
	return file.kind == TAKEOVER_NONE || _IOC_TYPE(request) != VFIO_TYPE ?
		       NEXT(ioctl)(fd, request, arg) :
		       hooks_ioctl(fd, file, request, arg);
}
