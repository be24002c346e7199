/* SPDX-License-Identifier: MIT */
/*
 * What the filter of cloud-hypervisor's VMM thread allows of what a library might call (x86-64,
 * vmm/src/seccomp_filters.rs in 2025), and what a version that has iommufd adds. The filters of its
 * other threads allow less; those do not open devices.
 */
#ifndef CLOUD_HYPERVISOR_H
#define CLOUD_HYPERVISOR_H

#include <linux/vfio.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "sys/uapi.h"

static const uint32_t cloud_hypervisor_calls[] = {
	SYS_brk,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_clone,
	SYS_clone3,
	SYS_close,
	SYS_connect,
	SYS_dup,
	SYS_eventfd2,
	SYS_exit,
	SYS_exit_group,
	SYS_fallocate,
	SYS_fcntl,
	SYS_fstat,
	SYS_ftruncate,
	SYS_futex,
	SYS_getdents64,
	SYS_getpid,
	SYS_getrandom,
	SYS_gettid,
	SYS_lseek,
	SYS_madvise,
	SYS_mbind,
	SYS_memfd_create,
	SYS_mmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_munmap,
	SYS_nanosleep,
	SYS_newfstatat,
	SYS_openat,
	SYS_pipe2,
	SYS_prctl,
	SYS_pread64,
	SYS_prlimit64,
	SYS_pwrite64,
	SYS_read,
	SYS_recvmsg,
	SYS_restart_syscall,
	SYS_rseq,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_sched_getaffinity,
	SYS_sched_setaffinity,
	SYS_sched_yield,
	SYS_sendmsg,
	SYS_sendto,
	SYS_set_robust_list,
	SYS_socket,
	SYS_statfs,
	SYS_statx,
	SYS_wait4,
	SYS_write,
#ifdef __x86_64__
	SYS_access,
	SYS_open,
	SYS_poll,
	SYS_readlink,
	SYS_stat,
	SYS_unlink,
#else
	SYS_faccessat,
	SYS_ppoll,
	SYS_readlinkat,
	SYS_unlinkat,
#endif
};

static const uint64_t cloud_hypervisor_requests[] = {
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
	VFIO_IOMMU_MAP_DMA,
	VFIO_IOMMU_UNMAP_DMA,
	VFIO_DEVICE_IOEVENTFD,
	VFB_VFIO_DEVICE_BIND_IOMMUFD,
	VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT,
	VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT,
	VFB_IOMMU_DESTROY,
	VFB_IOMMU_IOAS_ALLOC,
	VFB_IOMMU_IOAS_MAP,
	VFB_IOMMU_IOAS_UNMAP,
};

#endif
