/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a command by `vfioboost exec`: times its VFIO and iommufd calls, populates memory
 * in parallel before it is mapped, and lets devices go in parallel at exit. Everything the command
 * sees is what the kernel returns.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "boost.h"
#include "devices.h"
#include "preload.h"
#include "sys/uapi.h"
#include "target.h"

#define EXPORT __attribute__((visibility("default")))

struct records *preload_records;
_Thread_local bool preload_inside __attribute__((tls_model("initial-exec")));

/* This process, and whether it has made VFIO calls; a child that was forked has not. */
static pid_t self;
static atomic_bool is_user;

uint64_t preload_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

void preload_note(struct record record)
{
	uint_fast32_t index = atomic_fetch_add(&preload_records->count, 1);
	struct record *place;

	if (index >= RECORDS_MAX)
		return;
	place = &preload_records->all[index];
	record.process = self;
	record.thread = syscall(SYS_gettid);
	*place = record;
	atomic_store(&place->complete, true);
}

void preload_remark(const char *text)
{
	bool none = false;

	if (atomic_compare_exchange_strong(&preload_records->has_remark, &none, true))
		snprintf(preload_records->remark, sizeof(preload_records->remark), "%s", text);
}

/* Another thread's lock must not stay locked in a child. */
static void before_fork(void)
{
	pthread_mutex_lock(&preload_lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&preload_lock);
}

static void in_child(void)
{
	self = getpid();
	atomic_store(&is_user, false);
	threads_forget();
	devices_forget_all();
	pthread_mutex_unlock(&preload_lock);
}

static void find_next(void);

static bool map_records(void)
{
	const char *path = getenv(RECORDS_VARIABLE);
	struct records *records;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return false;
	records = mmap(NULL, sizeof(*records), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (records == MAP_FAILED)
		return false;
	if (records->version != RECORDS_VERSION) {
		munmap(records, sizeof(*records));
		return false;
	}
	preload_records = records;
	return true;
}

/*
 * The command itself gets its threads now: it may install a filter of system calls before its
 * first use of VFIO. What it starts gets them with the first use.
 */
__attribute__((constructor)) static void begin(void)
{
	preload_inside = true;
	find_next();
	if (map_records()) {
		target_prepare();
		self = getpid();
		pthread_atfork(before_fork, in_parent, in_child);
		if (preload_records->process == self)
			preload_context();
	}
	preload_inside = false;
}

/* A child of vfork() has another number and this memory: it lets nothing go. */
static void let_go(void)
{
	if (preload_inside || !atomic_load(&is_user) || getpid() != self)
		return;
	atomic_store(&is_user, false);
	preload_inside = true;
	if (preload_records->boost)
		preload_run(release_devices, NULL);
	preload_inside = false;
}

__attribute__((destructor)) static void end(void)
{
	let_go();
}

/* The next definitions after ours, the C library's as a rule. */
static struct {
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*close)(int fd);
	int (*unshare)(int flags);
	int (*setns)(int fd, int type);
} next;

/* Once, and beforehand: dlsym(3) takes a lock, which a child of fork() may find locked. */
static void find_next(void)
{
	next.ioctl = (__typeof__(next.ioctl))dlsym(RTLD_NEXT, "ioctl");
	next.close = (__typeof__(next.close))dlsym(RTLD_NEXT, "close");
	next.unshare = (__typeof__(next.unshare))dlsym(RTLD_NEXT, "unshare");
	next.setns = (__typeof__(next.setns))dlsym(RTLD_NEXT, "setns");
}

/* What a constructor that runs before ours calls is passed on, too. */
#define NEXT(name) (next.name ? next.name : (find_next(), next.name))

#define REQUEST(request) ((request)&0xff)

/* What it is about, from the command's own argument. */
static void describe(struct record *record, const void *arg)
{
	bool is_container = record->target == VFB_IOCTL_CONTAINER;

	if (is_container && record->request == REQUEST(VFIO_IOMMU_MAP_DMA)) {
		const struct vfio_iommu_type1_dma_map *map = arg;

		record->address = map->vaddr;
		record->bytes = map->size;
		record->iova = map->iova;
	} else if (is_container && record->request == REQUEST(VFIO_IOMMU_UNMAP_DMA)) {
		const struct vfio_iommu_type1_dma_unmap *unmap = arg;

		record->bytes = unmap->size;
		record->iova = unmap->iova;
	} else if (record->request == REQUEST(VFB_IOMMU_IOAS_MAP)) {
		const struct vfb_iommu_ioas_map *map = arg;

		record->address = map->user_va;
		record->bytes = map->length;
		record->iova = map->iova;
	} else if (record->request == REQUEST(VFB_IOMMU_IOAS_MAP_FILE)) {
		const struct vfb_iommu_ioas_map_file *map = arg;

		record->bytes = map->length;
		record->iova = map->iova;
	} else if (record->request == REQUEST(VFB_IOMMU_IOAS_UNMAP)) {
		const struct vfb_iommu_ioas_unmap *unmap = arg;

		record->bytes = unmap->length;
		record->iova = unmap->iova;
	} else if (record->target == VFB_IOCTL_DEVICE &&
		   record->request == REQUEST(VFIO_DEVICE_FEATURE)) {
		const struct vfio_device_feature *feature = arg;

		record->feature = feature->flags & VFIO_DEVICE_FEATURE_MASK;
	}
}

/* What devices will write to, the kernel would make present one page after another. */
static struct boost boost_of(const struct record *record, const void *arg)
{
	const struct vfio_iommu_type1_dma_map *map = arg;
	const struct vfb_iommu_ioas_map *ioas_map = arg;
	const struct vfb_iommu_ioas_map_file *file_map = arg;
	struct boost boost = {.range = VFB_MEMORY_ADOPT_OPTS_INIT};

	if (record->target == VFB_IOCTL_CONTAINER &&
	    record->request == REQUEST(VFIO_IOMMU_MAP_DMA)) {
		if ((map->flags & (VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR)) !=
		    VFIO_DMA_MAP_FLAG_WRITE)
			return boost;
		boost.range.address = (void *)(uintptr_t)map->vaddr;
		boost.range.bytes = map->size;
	} else if (record->request == REQUEST(VFB_IOMMU_IOAS_MAP)) {
		if (!(ioas_map->flags & VFB_IOMMU_IOAS_MAP_WRITEABLE))
			return boost;
		boost.range.address = (void *)(uintptr_t)ioas_map->user_va;
		boost.range.bytes = ioas_map->length;
	} else if (record->request == REQUEST(VFB_IOMMU_IOAS_MAP_FILE)) {
		if (!(file_map->flags & VFB_IOMMU_IOAS_MAP_WRITEABLE))
			return boost;
		boost.range.flags = VFB_MEMORY_ADOPT_HAS_FD;
		boost.range.fd = file_map->fd;
		boost.range.fd_offset = file_map->start;
		boost.range.bytes = file_map->length;
	}
	return boost;
}

/* A device is there: its name is known, and it will have to be let go. */
static void name_device(const struct record *record, int fd, const void *arg)
{
	if (record->result < 0)
		return;
	if (record->target == VFB_IOCTL_GROUP &&
	    record->request == REQUEST(VFIO_GROUP_GET_DEVICE_FD))
		devices_add(record->result, arg);
	else if (record->target == VFB_IOCTL_DEVICE)
		devices_add(fd, NULL);
}

/* The result, with errno as the kernel left it, or as it was. */
static int timed_ioctl(int fd, unsigned long request, void *arg)
{
	struct record record = {.kind = RECORD_IOCTL, .request = REQUEST(request)};
	struct boost boost = {0};
	int result, error = errno;

	preload_inside = true;
	atomic_store(&is_user, true);
	record.target = target_of(fd, record.request);
	/* The first page is never mapped: that is a mistake which the kernel answers. */
	if ((uintptr_t)arg >= 4096) {
		describe(&record, arg);
		if (preload_records->boost)
			boost = boost_of(&record, arg);
	}
	boost_begin(&boost);
	preload_inside = false;
	errno = error;
	record.start_ns = preload_now();
	result = NEXT(ioctl)(fd, request, arg);
	error = errno;
	record.duration_ns = preload_now() - record.start_ns;
	preload_inside = true;
	boost_end(&boost);
	record.result = result < 0 ? -error : result;
	name_device(&record, fd, arg);
	record.device = devices_number(record.target == VFB_IOCTL_GROUP ? record.result : fd);
	preload_note(record);
	preload_inside = false;
	errno = error;
	return result;
}

static int create_kvm_device(int fd, struct kvm_create_device *device)
{
	int result = NEXT(ioctl)(fd, KVM_CREATE_DEVICE, device);

	if (!result && device->type == KVM_DEV_TYPE_VFIO &&
	    !(device->flags & KVM_CREATE_DEVICE_TEST))
		devices_set_kvm(device->fd);
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
	if (request == KVM_CREATE_DEVICE)
		return create_kvm_device(fd, arg);
	return _IOC_TYPE(request) == VFIO_TYPE ? timed_ioctl(fd, request, arg) :
						 NEXT(ioctl)(fd, request, arg);
}

EXPORT int close(int fd)
{
	struct record record = {.kind = RECORD_CLOSE, .target = VFB_IOCTL_DEVICE};
	int result, error;

	if (!preload_records || preload_inside || !devices_has(fd) || getpid() != self)
		return NEXT(close)(fd);
	record.device = devices_number(fd);
	devices_remove(fd);
	record.start_ns = preload_now();
	result = NEXT(close)(fd);
	error = errno;
	record.duration_ns = preload_now() - record.start_ns;
	record.result = result ? -error : 0;
	preload_note(record);
	errno = error;
	return result;
}

/* What ends a process without the destructors. */
EXPORT void _exit(int status)
{
	let_go();
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	_exit(status);
}

/* The kernel refuses new user namespaces to a process with several threads. */
EXPORT int unshare(int flags)
{
	if (preload_records && !preload_inside)
		threads_end();
	return NEXT(unshare)(flags);
}

EXPORT int setns(int fd, int type)
{
	if (preload_records && !preload_inside)
		threads_end();
	return NEXT(setns)(fd, type);
}
