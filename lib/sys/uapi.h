/* SPDX-License-Identifier: MIT */
#ifndef VFB_UAPI_H
#define VFB_UAPI_H

/*
 * The kernel interfaces that are newer than the headers of some build hosts (Debian 12 has those
 * of Linux 6.1), each with the version that it came in. They have names of their own, so that
 * they never clash with headers that do have them; tests/unit/test_uapi.c compares the two
 * wherever both exist. What the kernel at run time lacks, it refuses with ENOTTY.
 */
#include <linux/types.h>
#include <linux/vfio.h>

#define VFB_IOMMUFD_TYPE ';'

/* Linux 6.2: iommufd, include/uapi/linux/iommufd.h. */
struct vfb_iommu_destroy {
	__u32 size;
	__u32 id;
};
#define VFB_IOMMU_DESTROY _IO(VFB_IOMMUFD_TYPE, 0x80)

struct vfb_iommu_ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_ioas_id;
};
#define VFB_IOMMU_IOAS_ALLOC _IO(VFB_IOMMUFD_TYPE, 0x81)

struct vfb_iommu_iova_range {
	__aligned_u64 start;
	__aligned_u64 last;
};

struct vfb_iommu_ioas_iova_ranges {
	__u32 size;
	__u32 ioas_id;
	__u32 num_iovas;
	__u32 reserved;
	__aligned_u64 allowed_iovas;
	__aligned_u64 out_iova_alignment;
};
#define VFB_IOMMU_IOAS_IOVA_RANGES _IO(VFB_IOMMUFD_TYPE, 0x84)

#define VFB_IOMMU_IOAS_MAP_FIXED_IOVA (1u << 0)
#define VFB_IOMMU_IOAS_MAP_WRITEABLE  (1u << 1)
#define VFB_IOMMU_IOAS_MAP_READABLE   (1u << 2)
struct vfb_iommu_ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 reserved;
	__aligned_u64 user_va;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define VFB_IOMMU_IOAS_MAP _IO(VFB_IOMMUFD_TYPE, 0x85)

struct vfb_iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};
#define VFB_IOMMU_IOAS_UNMAP _IO(VFB_IOMMUFD_TYPE, 0x86)

#define VFB_IOMMU_VFIO_IOAS_GET 0
#define VFB_IOMMU_VFIO_IOAS_SET 1
struct vfb_iommu_vfio_ioas {
	__u32 size;
	__u32 ioas_id;
	__u16 op;
	__u16 reserved;
};
#define VFB_IOMMU_VFIO_IOAS _IO(VFB_IOMMUFD_TYPE, 0x88)

/* Linux 6.7; older kernels accept fields that they do not know when those are zero. */
struct vfb_iommu_hwpt_alloc {
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 pt_id;
	__u32 out_hwpt_id;
	__u32 reserved;
	__u32 data_type;
	__u32 data_len;
	__aligned_u64 data_uptr;
	/* Linux 6.11. */
	__u32 fault_id;
	__u32 reserved2;
};
#define VFB_IOMMU_HWPT_ALLOC _IO(VFB_IOMMUFD_TYPE, 0x89)

/* Linux 6.7. */
#define VFB_IOMMU_HWPT_ALLOC_DIRTY_TRACKING  (1u << 1)
#define VFB_IOMMU_HWPT_FAULT_ID_VALID	     (1u << 2)
#define VFB_IOMMU_HWPT_DIRTY_TRACKING_ENABLE (1u << 0)
struct vfb_iommu_hwpt_set_dirty_tracking {
	__u32 size;
	__u32 flags;
	__u32 hwpt_id;
	__u32 reserved;
};
#define VFB_IOMMU_HWPT_SET_DIRTY_TRACKING _IO(VFB_IOMMUFD_TYPE, 0x8b)

struct vfb_iommu_hwpt_get_dirty_bitmap {
	__u32 size;
	__u32 hwpt_id;
	__u32 flags;
	__u32 reserved;
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__aligned_u64 data;
};
#define VFB_IOMMU_HWPT_GET_DIRTY_BITMAP _IO(VFB_IOMMUFD_TYPE, 0x8c)

/* Linux 6.11. Files of faults: read(2) returns whole groups of faults, which have a cookie in
 * common; write(2) answers them. */
struct vfb_iommu_fault_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_fault_id;
	__u32 out_fault_fd;
};
#define VFB_IOMMU_FAULT_QUEUE_ALLOC _IO(VFB_IOMMUFD_TYPE, 0x8e)

#define VFB_IOMMU_PGFAULT_PERM_READ  (1u << 0)
#define VFB_IOMMU_PGFAULT_PERM_WRITE (1u << 1)
#define VFB_IOMMU_PGFAULT_PERM_EXEC  (1u << 2)
#define VFB_IOMMU_PGFAULT_PERM_PRIV  (1u << 3)
struct vfb_iommu_hwpt_pgfault {
	__u32 flags;
	__u32 dev_id;
	__u32 pasid;
	__u32 grpid;
	__u32 perm;
	__u32 reserved;
	__aligned_u64 addr;
	__u32 length;
	__u32 cookie;
};

#define VFB_IOMMUFD_PAGE_RESP_SUCCESS 0
#define VFB_IOMMUFD_PAGE_RESP_INVALID 1
struct vfb_iommu_hwpt_page_response {
	__u32 cookie;
	__u32 code;
};

/* Linux 6.13. */
struct vfb_iommu_ioas_map_file {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__s32 fd;
	__aligned_u64 start;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define VFB_IOMMU_IOAS_MAP_FILE _IO(VFB_IOMMUFD_TYPE, 0x8f)

struct vfb_iommu_ioas_change_process {
	__u32 size;
	__u32 reserved;
};
#define VFB_IOMMU_IOAS_CHANGE_PROCESS _IO(VFB_IOMMUFD_TYPE, 0x92)

/* Linux 6.6: the device node /dev/vfio/devices/vfioN, include/uapi/linux/vfio.h. */
struct vfb_vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};
#define VFB_VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

struct vfb_vfio_device_attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};
#define VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct vfb_vfio_device_detach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
};
#define VFB_VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 20)

/* The device is bound to an iommufd, of struct vfio_pci_hot_reset_info. */
#define VFB_VFIO_PCI_HOT_RESET_FLAG_DEV_ID (1u << 0)

/* Linux 6.19, with CONFIG_VFIO_PCI_DMABUF: what follows a struct vfio_device_feature. */
#define VFB_VFIO_DEVICE_FEATURE_DMA_BUF 11
struct vfb_vfio_region_dma_range {
	__u64 offset;
	__u64 length;
};

struct vfb_vfio_device_feature_dma_buf {
	__u32 region_index;
	__u32 open_flags;
	__u32 flags;
	__u32 nr_ranges;
	struct vfb_vfio_region_dma_range dma_ranges[];
};

/* Linux 5.14: include/uapi/asm-generic/mman-common.h; glibc has it since 2.35. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#endif
