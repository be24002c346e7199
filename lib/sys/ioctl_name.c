/* SPDX-License-Identifier: MIT */
#include "sys/ioctl_name.h"

#include "sys/uapi.h"

const char *vfb_ioctl_name(unsigned long request)
{
	/* VFIO and iommufd number their requests alike; no two that are used here collide. */
	switch (request) {
	case VFIO_GET_API_VERSION:
		return "VFIO_GET_API_VERSION";
	case VFIO_CHECK_EXTENSION:
		return "VFIO_CHECK_EXTENSION";
	case VFIO_SET_IOMMU:
		return "VFIO_SET_IOMMU";
	case VFIO_GROUP_GET_STATUS:
		return "VFIO_GROUP_GET_STATUS";
	case VFIO_GROUP_SET_CONTAINER:
		return "VFIO_GROUP_SET_CONTAINER";
	case VFIO_GROUP_UNSET_CONTAINER:
		return "VFIO_GROUP_UNSET_CONTAINER";
	case VFIO_GROUP_GET_DEVICE_FD:
		return "VFIO_GROUP_GET_DEVICE_FD";
	case VFIO_DEVICE_GET_INFO:
		return "VFIO_DEVICE_GET_INFO";
	case VFIO_DEVICE_GET_REGION_INFO:
		return "VFIO_DEVICE_GET_REGION_INFO";
	case VFIO_DEVICE_GET_IRQ_INFO:
		return "VFIO_DEVICE_GET_IRQ_INFO";
	case VFIO_DEVICE_SET_IRQS:
		return "VFIO_DEVICE_SET_IRQS";
	case VFIO_DEVICE_RESET:
		return "VFIO_DEVICE_RESET";
	case VFIO_DEVICE_FEATURE:
		return "VFIO_DEVICE_FEATURE";
	/* VFIO gives these numbers to devices, too: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, which is
	 * rare, and VFIO_DEVICE_PCI_HOT_RESET have the names of those of the container here. */
	case VFIO_IOMMU_GET_INFO:
		return "VFIO_IOMMU_GET_INFO";
	case VFIO_IOMMU_MAP_DMA:
		return "VFIO_IOMMU_MAP_DMA";
	case VFIO_IOMMU_UNMAP_DMA:
		return "VFIO_IOMMU_UNMAP_DMA";
	case VFB_VFIO_DEVICE_BIND_IOMMUFD:
		return "VFIO_DEVICE_BIND_IOMMUFD";
	case VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return "VFIO_DEVICE_ATTACH_IOMMUFD_PT";
	case VFB_IOMMU_DESTROY:
		return "IOMMU_DESTROY";
	case VFB_IOMMU_IOAS_ALLOC:
		return "IOMMU_IOAS_ALLOC";
	case VFB_IOMMU_IOAS_IOVA_RANGES:
		return "IOMMU_IOAS_IOVA_RANGES";
	case VFB_IOMMU_IOAS_MAP:
		return "IOMMU_IOAS_MAP";
	case VFB_IOMMU_IOAS_UNMAP:
		return "IOMMU_IOAS_UNMAP";
	case VFB_IOMMU_IOAS_MAP_FILE:
		return "IOMMU_IOAS_MAP_FILE";
	}
	return "ioctl";
}
