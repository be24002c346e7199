/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a command by `vfioboost exec`: times its VFIO and iommufd calls, populates memory
 * in parallel before it is mapped, and releases devices in parallel at exit. Everything the command
 * sees is what the kernel returns.
 */
#include <errno.h>
#include <linux/close_range.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "argument.h"
#include "boost.h"
#include "devices.h"
#include "missing.h"
#include "next.h"
#include "preload.h"
#include "target.h"

#define REQUEST(request) ((request)&0xff)

struct settings preload_settings;
_Thread_local bool preload_inside __attribute__((tls_model("initial-exec")));

/* Whether this process has made VFIO calls; a child that was forked has not. */
static atomic_bool preload_is_user;

uint64_t preload_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

void preload_forget_use(void)
{
	atomic_store(&preload_is_user, false);
}

__attribute__((constructor)) static void preload_begin(void)
{
	const char *text = secure_getenv(SETTINGS_VARIABLE);

	preload_inside = true;
	next_find();
	/* A filter that was there before cannot forbid it: the dynamic linker reads files, too. */
	if (text && settings_parse(text, &preload_settings) && preload_know_process() &&
	    preload_map_records() && preload_is_filtered())
		preload_set_filter();
	preload_inside = false;
}

/* A child of vfork() has another number and this memory: it releases nothing. */
static void preload_release(void)
{
	if (!preload_records || preload_inside)
		return;
	preload_check_process();
	if (!atomic_load(&preload_is_user) || getpid() != preload_process)
		return;
	atomic_store(&preload_is_user, false);
	preload_inside = true;
	if (preload_settings.boost)
		preload_run(release_devices, NULL);
	preload_inside = false;
}

__attribute__((destructor)) static void preload_end(void)
{
	preload_release();
}

/* The command's own call; errno is afterwards as the kernel left it. */
static int preload_call_ioctl(int fd, unsigned long request, void *arg, struct record *record)
{
	int result;

	record->start_ns = preload_now();
	result = NEXT(ioctl)(fd, request, arg);
	record->duration_ns = preload_now() - record->start_ns;
	record->result = result < 0 ? -errno : result;
	return result;
}

/* The same, where the argument is recorded, and memory may have to be populated for it. */
static int preload_boost_ioctl(int fd, unsigned long request, void *arg, struct record *record)
{
	struct boost boost = {.range = VFB_MEMORY_ADOPT_OPTS_INIT};
	int result, error = errno;

	preload_inside = true;
	argument_read(arg, record, &boost);
	boost_begin(&boost);
	preload_inside = false;
	errno = error;
	result = preload_call_ioctl(fd, request, arg, record);
	error = errno;
	preload_inside = true;
	boost_end(&boost);
	preload_inside = false;
	errno = error;
	return result;
}

/* A device is there: its name is known, and it will have to be released. */
static void preload_name_device(struct record *record, int fd, const void *arg)
{
	int error = errno;

	preload_inside = true;
	if (record->result >= 0 && record->target == VFB_IOCTL_GROUP &&
	    record->request == REQUEST(VFIO_GROUP_GET_DEVICE_FD)) {
		devices_add(record->result, arg);
		fd = record->result;
	} else if (record->result >= 0 && record->target == VFB_IOCTL_DEVICE) {
		devices_see(fd, target_is_certain(record->request));
	}
	record->device = devices_number(fd);
	preload_inside = false;
	errno = error;
}

static int preload_time_ioctl(int fd, unsigned long request, void *arg)
{
	struct record record = {.kind = RECORD_IOCTL, .request = REQUEST(request)};
	int result;

	preload_check_process();
	atomic_store_explicit(&preload_is_user, true, memory_order_relaxed);
	record.target = target_of(fd, record.request);
	if (argument_is_read(&record))
		result = preload_boost_ioctl(fd, request, arg, &record);
	else
		result = preload_call_ioctl(fd, request, arg, &record);
	if (record.target == VFB_IOCTL_GROUP || record.target == VFB_IOCTL_DEVICE)
		preload_name_device(&record, fd, arg);
	preload_note(&record);
	return result;
}

static int preload_create_kvm_device(int fd, struct kvm_create_device *device)
{
	int result = NEXT(ioctl)(fd, KVM_CREATE_DEVICE, device);

	preload_check_process();
	if (!result && device->type == KVM_DEV_TYPE_VFIO &&
	    !(device->flags & KVM_CREATE_DEVICE_TEST))
		devices_set_kvm(device->fd);
	return result;
}

static int preload_register(int fd, struct uffdio_register *range)
{
	int result = NEXT(ioctl)(fd, UFFDIO_REGISTER, range);

	preload_check_process();
	if (!result)
		missing_add(range);
	return result;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *arg;

	va_start(arguments, request);
	arg = va_arg(arguments, void *);
	va_end(arguments);
	if (!preload_records || preload_inside)
		return NEXT(ioctl)(fd, request, arg);
	if (_IOC_TYPE(request) == VFIO_TYPE)
		return preload_time_ioctl(fd, request, arg);
	if (request == KVM_CREATE_DEVICE)
		return preload_create_kvm_device(fd, arg);
	return request == UFFDIO_REGISTER ? preload_register(fd, arg) :
					    NEXT(ioctl)(fd, request, arg);
}

static int preload_close_device(int fd)
{
	struct record record = {
		.kind = RECORD_CLOSE,
		.target = VFB_IOCTL_DEVICE,
		.device = devices_number(fd),
	};
	int result;

	devices_remove(fd);
	record.start_ns = preload_now();
	result = NEXT(close)(fd);
	record.duration_ns = preload_now() - record.start_ns;
	record.result = result ? -errno : 0;
	preload_note(&record);
	return result;
}

EXPORT int close(int fd)
{
	if (!preload_records || preload_inside)
		return NEXT(close)(fd);
	preload_check_process();
	return devices_has(fd) && getpid() == preload_process ? preload_close_device(fd) :
								NEXT(close)(fd);
}

/* Other ways to close a file descriptor; a child of vfork(2) closes its own. */
static void preload_forget_range(unsigned int first, unsigned int last)
{
	if (!preload_records || preload_inside)
		return;
	preload_check_process();
	for (unsigned int fd = first; fd < DEVICES_MAX && fd <= last; fd++)
		if (devices_has(fd) && getpid() == preload_process)
			devices_remove(fd);
}

EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	int result = NEXT(close_range)(first, last, flags);

	if (!result && !(flags & CLOSE_RANGE_CLOEXEC))
		preload_forget_range(first, last);
	return result;
}

EXPORT int dup2(int fd, int other)
{
	int result = NEXT(dup2)(fd, other);

	if (result >= 0 && fd != other)
		preload_forget_range(other, other);
	return result;
}

EXPORT int dup3(int fd, int other, int flags)
{
	int result = NEXT(dup3)(fd, other, flags);

	if (result >= 0)
		preload_forget_range(other, other);
	return result;
}

/* What ends a process without the destructors. */
EXPORT void _exit(int status)
{
	preload_release();
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	_exit(status);
}
