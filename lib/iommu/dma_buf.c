/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>

#include "iommu/iommu.h"
#include "observe/error.h"
#include "sys/uapi.h"

/* One range, since iommufd accepts no dma-buf of several (vfio_pci_dma_buf_iommufd_map()). */
struct request {
	struct vfio_device_feature feature;
	struct vfb_vfio_device_feature_dma_buf dma_buf;
	struct vfb_vfio_region_dma_range range;
};

int vfb_dma_buf_export(const struct vfb_sys *sys, const struct vfb_iommu_map *map)
{
	struct request request = {
		.feature = {.argsz = sizeof(request),
			    .flags = VFIO_DEVICE_FEATURE_GET | VFB_VFIO_DEVICE_FEATURE_DMA_BUF},
		.dma_buf = {.region_index = map->region->index,
			    .open_flags = O_RDWR | O_CLOEXEC,
			    .nr_ranges = 1},
		.range = {.offset = map->file_offset, .length = map->bytes},
	};
	int fd = sys->ioctl(sys, map->region->device_fd, VFIO_DEVICE_FEATURE, &request);

	switch (fd) {
	case -ENOTTY:
		return vfb_fail(-ENOTSUP,
				"this kernel cannot map regions of devices with iommufd: use Linux "
				"6.19 or later with CONFIG_VFIO_PCI_DMABUF, or type1");
	case -EOPNOTSUPP:
		return vfb_fail(
			-ENOTSUP,
			"the driver of device %s does not allow iommufd to map its regions: "
			"bind it to vfio-pci, or use type1",
			map->region->device);
	}
	if (fd < 0)
		return vfb_fail_errno(fd, "cannot export %s of region %u of device %s for DMA",
				      vfb_size_text(map->bytes).text, map->region->index,
				      map->region->device);
	return fd;
}
