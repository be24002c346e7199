/* SPDX-License-Identifier: MIT */
/* As of Linux 7.3. */
#include "sys/ioctl_name.h"

#include <stddef.h>

#include "sys/uapi.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define IOMMUFD_BASE 0x80

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

/* include/uapi/linux/vfio.h: numbers from VFIO_BASE on. */
static const char *const groups[] = {
	[3] = "VFIO_GROUP_GET_STATUS",
	[4] = "VFIO_GROUP_SET_CONTAINER",
	[5] = "VFIO_GROUP_UNSET_CONTAINER",
	[6] = "VFIO_GROUP_GET_DEVICE_FD",
};

static const char *const containers[] = {
	[0] = "VFIO_GET_API_VERSION",
	[1] = "VFIO_CHECK_EXTENSION",
	[2] = "VFIO_SET_IOMMU",
	[12] = "VFIO_IOMMU_GET_INFO",
	[13] = "VFIO_IOMMU_MAP_DMA",
	[14] = "VFIO_IOMMU_UNMAP_DMA",
	[15] = "VFIO_IOMMU_ENABLE",
	[16] = "VFIO_IOMMU_DISABLE",
	[17] = "VFIO_IOMMU_DIRTY_PAGES",
	[18] = "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY",
	[19] = "VFIO_IOMMU_SPAPR_TCE_CREATE",
	[20] = "VFIO_IOMMU_SPAPR_TCE_REMOVE",
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

static const char *const features[] = {
	"VFIO_DEVICE_FEATURE_PCI_VF_TOKEN",
	"VFIO_DEVICE_FEATURE_MIGRATION",
	"VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE",
	"VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY",
	"VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP",
	"VFIO_DEVICE_FEATURE_LOW_POWER_EXIT",
	"VFIO_DEVICE_FEATURE_DMA_LOGGING_START",
	"VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP",
	"VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT",
	"VFIO_DEVICE_FEATURE_MIG_DATA_SIZE",
	"VFIO_DEVICE_FEATURE_BUS_MASTER",
	"VFIO_DEVICE_FEATURE_DMA_BUF",
	"VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2",
	"VFIO_DEVICE_FEATURE_ZPCI_ERROR",
};

static const struct {
	const char *const *names;
	size_t count;
	unsigned int base;
} tables[] = {
	[VFB_IOCTL_CONTAINER] = {containers, COUNT(containers), VFIO_BASE},
	[VFB_IOCTL_GROUP] = {groups, COUNT(groups), VFIO_BASE},
	[VFB_IOCTL_DEVICE] = {devices, COUNT(devices), VFIO_BASE},
	[VFB_IOCTL_IOMMUFD] = {iommufd, COUNT(iommufd), IOMMUFD_BASE},
};

const char *vfb_ioctl_name(enum vfb_ioctl_target target, unsigned int number)
{
	size_t index = (size_t)number - tables[target].base;

	return index < tables[target].count ? tables[target].names[index] : NULL;
}

const char *vfb_ioctl_feature_name(unsigned int feature)
{
	return feature < COUNT(features) ? features[feature] : NULL;
}

static enum vfb_ioctl_target usual_target(unsigned int number)
{
	if (number >= IOMMUFD_BASE)
		return VFB_IOCTL_IOMMUFD;
	if (vfb_ioctl_name(VFB_IOCTL_GROUP, number))
		return VFB_IOCTL_GROUP;
	if (number <= _IOC_NR(VFIO_SET_IOMMU) ||
	    (number >= _IOC_NR(VFIO_IOMMU_GET_INFO) && number <= _IOC_NR(VFIO_IOMMU_UNMAP_DMA)))
		return VFB_IOCTL_CONTAINER;
	return VFB_IOCTL_DEVICE;
}

const char *vfb_ioctl_request_name(unsigned long request)
{
	const char *name = NULL;

	if (_IOC_TYPE(request) == VFIO_TYPE)
		name = vfb_ioctl_name(usual_target(_IOC_NR(request)), _IOC_NR(request));
	return name ? name : "ioctl";
}
