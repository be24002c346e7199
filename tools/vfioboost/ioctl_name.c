/* SPDX-License-Identifier: MIT */
#include "ioctl_name.h"

#include <linux/vfio.h>
#include <stdio.h>

/* include/uapi/linux/iommufd.h: numbers from IOMMUFD_CMD_BASE on. */
static const char *const iommufd[] = {
	"IOMMU_DESTROY",
	"IOMMU_IOAS_ALLOC",
	"IOMMU_IOAS_ALLOW_IOVAS",
	"IOMMU_IOAS_COPY",
	"IOMMU_IOAS_IOVA_RANGES",
	"IOMMU_IOAS_MAP",
	"IOMMU_IOAS_UNMAP",
	"IOMMU_OPTION",
	"IOMMU_VFIO_IOAS",
	"IOMMU_HWPT_ALLOC",
	"IOMMU_GET_HW_INFO",
	"IOMMU_HWPT_SET_DIRTY_TRACKING",
	"IOMMU_HWPT_GET_DIRTY_BITMAP",
	"IOMMU_HWPT_INVALIDATE",
	"IOMMU_FAULT_QUEUE_ALLOC",
	"IOMMU_IOAS_MAP_FILE",
	"IOMMU_VIOMMU_ALLOC",
	"IOMMU_VDEVICE_ALLOC",
	"IOMMU_IOAS_CHANGE_PROCESS",
	"IOMMU_VEVENTQ_ALLOC",
	"IOMMU_HW_QUEUE_ALLOC",
	"IOMMU_IOAS_NOIOMMU_GET_PA",
};

/* include/uapi/linux/vfio.h: from VFIO_BASE on. The same numbers mean other things to containers
 * and to devices. */
static const char *const groups[] = {
	[3] = "VFIO_GROUP_GET_STATUS",
	[4] = "VFIO_GROUP_SET_CONTAINER",
	[5] = "VFIO_GROUP_UNSET_CONTAINER",
	[6] = "VFIO_GROUP_GET_DEVICE_FD",
};

static const char *const containers[] = {
	[0] = "VFIO_GET_API_VERSION", [1] = "VFIO_CHECK_EXTENSION", [2] = "VFIO_SET_IOMMU",
	[12] = "VFIO_IOMMU_GET_INFO", [13] = "VFIO_IOMMU_MAP_DMA",  [14] = "VFIO_IOMMU_UNMAP_DMA",
	[15] = "VFIO_IOMMU_ENABLE",   [16] = "VFIO_IOMMU_DISABLE",  [17] = "VFIO_IOMMU_DIRTY_PAGES",
	[21] = "VFIO_EEH_PE_OP",
};

static const char *const devices[] = {
	[7] = "VFIO_DEVICE_GET_INFO",
	[8] = "VFIO_DEVICE_GET_REGION_INFO",
	[9] = "VFIO_DEVICE_GET_IRQ_INFO",
	[10] = "VFIO_DEVICE_SET_IRQS",
	[11] = "VFIO_DEVICE_RESET",
	[12] = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
	[13] = "VFIO_DEVICE_PCI_HOT_RESET",
	[14] = "VFIO_DEVICE_QUERY_GFX_PLANE",
	[15] = "VFIO_DEVICE_GET_GFX_DMABUF",
	[16] = "VFIO_DEVICE_IOEVENTFD",
	[17] = "VFIO_DEVICE_FEATURE",
	[18] = "VFIO_DEVICE_BIND_IOMMUFD",
	[19] = "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
	[20] = "VFIO_DEVICE_DETACH_IOMMUFD_PT",
	[21] = "VFIO_MIG_GET_PRECOPY_INFO",
};

static const struct {
	const char *const *names;
	size_t count;
	unsigned int base;
} tables[] = {
	[TARGET_CONTAINER] = {containers, sizeof(containers) / sizeof(containers[0]), VFIO_BASE},
	[TARGET_GROUP] = {groups, sizeof(groups) / sizeof(groups[0]), VFIO_BASE},
	[TARGET_DEVICE] = {devices, sizeof(devices) / sizeof(devices[0]), VFIO_BASE},
	[TARGET_IOMMUFD] = {iommufd, sizeof(iommufd) / sizeof(iommufd[0]), 0x80},
};

const char *ioctl_name(enum record_target target, unsigned int request, char text[IOCTL_NAME])
{
	size_t index = request - tables[target].base;

	if (request >= tables[target].base && index < tables[target].count &&
	    tables[target].names[index])
		return tables[target].names[index];
	snprintf(text, IOCTL_NAME, "request %#x", request);
	return text;
}
