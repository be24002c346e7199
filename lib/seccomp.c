/* SPDX-License-Identifier: MIT */
/* The system calls of each kind of thread, from the tables in sys/. */
#include <vfioboost/seccomp.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "observe/error.h"
#include "sys/ioctl_name.h"
#include "sys/uapi.h"

/* Who uses a member. What threads and callers use, whoever creates threads may use as well. */
#define T      (1u << VFB_SECCOMP_THREAD)
#define N      (1u << VFB_SECCOMP_CREATE)
#define C      (1u << VFB_SECCOMP_CALLER)
#define NOBODY (1u << 31)

#define MAX_CALLS    160
#define CALLS_PER_OP 10

struct kernel_call {
	const char *name;
	uint32_t number;
};

#define CALL(name)                \
	{                         \
#name, SYS_##name \
	}
#define NO_CALL         \
	{               \
		NULL, 0 \
	}
/* Newer architectures have the general form only. */
#ifdef SYS_readlink
#define CALL_READLINK CALL(readlink)
#else
#define CALL_READLINK CALL(readlinkat)
#endif
/* Which of them depends on the version of glibc. */
#define CALL_STAT CALL(newfstatat), CALL(fstat)

enum {
/* clang-format off */
#define TIMED(type, name, ...) OP_##name,
#define TIMED_VOID(name, ...) OP_##name,
#define UNTIMED(type, name, ...) OP_##name,
#define UNTIMED_VOID(name, ...) OP_##name,
/* clang-format on */
#include "sys/calls.def"
	OPS,
};

/* A member of struct vfb_sys that is missing in the other table does not compile. */
#define OP(name, ...) +1
_Static_assert(0
#include "sys/seccomp.def"
		       == OPS,
	       "each member of struct vfb_sys has its system calls");

static const struct {
	uint32_t roles;
	struct kernel_call calls[CALLS_PER_OP];
} ops[OPS] = {
/* clang-format off */
#define OP(name, who, ...) [OP_##name] = {who, {__VA_ARGS__}},
#include "sys/seccomp.def"
	/* clang-format on */
};

/*
 * Those of malloc(), mutexes, liburcu, and of a thread that ends. qsort() of glibc before 2.37 asks
 * for the size of the memory (sysinfo) once in a process, when it sorts more than 1 KiB.
 */
static const struct kernel_call always[] = {
	CALL(brk),	  CALL(mmap),	 CALL(munmap),		CALL(mremap),
	CALL(mprotect),	  CALL(madvise), CALL(getrandom),	CALL(futex),
	CALL(membarrier), CALL(ppoll),	 CALL(rt_sigprocmask),	CALL(sched_yield),
	CALL(gettid),	  CALL(exit),	 CALL(restart_syscall), CALL(sysinfo),
#ifdef SYS_poll
	CALL(poll),
#endif
};

static const unsigned long requests[] = {
	VFIO_GET_API_VERSION,
	VFIO_CHECK_EXTENSION,
	VFIO_SET_IOMMU,
	VFIO_GROUP_GET_STATUS,
	VFIO_GROUP_SET_CONTAINER,
	VFIO_GROUP_UNSET_CONTAINER,
	VFIO_GROUP_GET_DEVICE_FD,
	VFIO_DEVICE_GET_INFO,
	VFIO_DEVICE_GET_REGION_INFO,
	VFIO_DEVICE_GET_IRQ_INFO,
	VFIO_DEVICE_SET_IRQS,
	VFIO_DEVICE_RESET,
	VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
	VFIO_DEVICE_PCI_HOT_RESET,
	VFIO_DEVICE_FEATURE,
	VFIO_IOMMU_GET_INFO,
	VFIO_IOMMU_MAP_DMA,
	VFIO_IOMMU_UNMAP_DMA,
	VFIO_IOMMU_DIRTY_PAGES,
	VFIO_IOMMU_SPAPR_TCE_GET_INFO,
	VFIO_IOMMU_SPAPR_REGISTER_MEMORY,
	VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY,
	VFIO_IOMMU_SPAPR_TCE_CREATE,
	VFIO_IOMMU_SPAPR_TCE_REMOVE,
	VFB_VFIO_DEVICE_BIND_IOMMUFD,
	VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT,
	VFB_IOMMU_DESTROY,
	VFB_IOMMU_IOAS_ALLOC,
	VFB_IOMMU_IOAS_IOVA_RANGES,
	VFB_IOMMU_IOAS_MAP,
	VFB_IOMMU_IOAS_UNMAP,
	VFB_IOMMU_VFIO_IOAS,
	VFB_IOMMU_HWPT_ALLOC,
	VFB_IOMMU_HWPT_SET_DIRTY_TRACKING,
	VFB_IOMMU_HWPT_GET_DIRTY_BITMAP,
	VFB_IOMMU_FAULT_QUEUE_ALLOC,
	VFB_IOMMU_IOAS_MAP_FILE,
	VFB_IOMMU_IOAS_CHANGE_PROCESS,
};

struct call_list {
	struct vfb_seccomp_call calls[MAX_CALLS];
	size_t count;
};

static void list_add(struct call_list *list, uint32_t number, uint64_t request, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->calls[i].number == number && list->calls[i].request == request)
			return;
	list->calls[list->count++] = (struct vfb_seccomp_call){
		.number = number,
		.request = request,
		.name = name,
	};
}

/* Numbers that mean several requests, of a container and a device, are listed once. */
static void list_add_requests(struct call_list *list)
{
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		list_add(list, SYS_ioctl, requests[i], vfb_ioctl_request_name(requests[i]));
}

static bool op_is_used(size_t op, enum vfb_seccomp_role role)
{
	if (role == VFB_SECCOMP_CREATE)
		return ops[op].roles != NOBODY;
	return ops[op].roles & (1u << role);
}

int vfb_seccomp_calls(enum vfb_seccomp_role role, struct vfb_seccomp_call *calls, size_t count)
{
	struct call_list list = {.count = 0};

	if (role > VFB_SECCOMP_CALLER)
		return vfb_fail(-EINVAL, "role %d of a thread is unknown", (int)role);
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		list_add(&list, always[i].number, 0, always[i].name);
	for (size_t op = 0; op < OPS; op++)
		for (size_t i = 0; op_is_used(op, role) && i < CALLS_PER_OP; i++)
			if (ops[op].calls[i].name)
				list_add(&list, ops[op].calls[i].number, 0, ops[op].calls[i].name);
	list_add_requests(&list);
	if (count > list.count)
		count = list.count;
	if (count)
		memcpy(calls, list.calls, count * sizeof(*calls));
	return list.count;
}
