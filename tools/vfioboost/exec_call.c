/* SPDX-License-Identifier: MIT */
#include "exec_call.h"

#include <stdio.h>

#include "sys/uapi.h"

#define REQUEST(request) ((request)&0xff)

static const char *ioctl_name(const struct record *record, char text[CALL_NAME])
{
	const char *name = vfb_ioctl_name(record->target, record->request), *feature = NULL;

	if (record->target == VFB_IOCTL_DEVICE && record->request == REQUEST(VFIO_DEVICE_FEATURE))
		feature = vfb_ioctl_feature_name(record->feature);
	if (!name)
		snprintf(text, CALL_NAME, "request %#x", record->request);
	return feature ? feature : name ? name : text;
}

const char *exec_call_name(const struct record *record, char text[CALL_NAME])
{
	switch ((enum record_kind)record->kind) {
	case RECORD_IOCTL:
		return ioctl_name(record, text);
	case RECORD_CLOSE:
		return "close device";
	case RECORD_POPULATE:
		return "populate (vfioboost)";
	case RECORD_RELEASE:
		return "release device (vfioboost)";
	case RECORD_PREALLOC:
		return record->request == RECORD_MMAP ? "mmap (MAP_POPULATE)" :
							"madvise (MADV_POPULATE_WRITE)";
	}
	return "unknown";
}

static enum vfb_phase device_phase(unsigned int request)
{
	switch (request) {
	case REQUEST(VFB_VFIO_DEVICE_BIND_IOMMUFD):
		return VFB_PHASE_OPEN;
	case REQUEST(VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT):
		return VFB_PHASE_ATTACH;
	case REQUEST(VFIO_DEVICE_RESET):
	case REQUEST(VFIO_DEVICE_PCI_HOT_RESET):
		return VFB_PHASE_RESET;
	default:
		return VFB_PHASE_SYSCALL;
	}
}

static enum vfb_phase ioctl_phase(enum vfb_ioctl_target target, unsigned int request)
{
	switch (request) {
	case REQUEST(VFB_IOMMU_IOAS_MAP):
	case REQUEST(VFB_IOMMU_IOAS_MAP_FILE):
		return VFB_PHASE_MAP;
	case REQUEST(VFB_IOMMU_IOAS_UNMAP):
		return VFB_PHASE_UNMAP;
	case REQUEST(VFIO_GROUP_SET_CONTAINER):
	case REQUEST(VFIO_SET_IOMMU):
		return VFB_PHASE_ATTACH;
	case REQUEST(VFIO_GROUP_GET_DEVICE_FD):
		return VFB_PHASE_OPEN;
	}
	if (target == VFB_IOCTL_DEVICE)
		return device_phase(request);
	if (request == REQUEST(VFIO_IOMMU_MAP_DMA))
		return VFB_PHASE_MAP;
	return request == REQUEST(VFIO_IOMMU_UNMAP_DMA) ? VFB_PHASE_UNMAP : VFB_PHASE_SYSCALL;
}

enum vfb_phase exec_call_phase(const struct record *record)
{
	switch ((enum record_kind)record->kind) {
	case RECORD_IOCTL:
		return ioctl_phase(record->target, record->request);
	case RECORD_CLOSE:
	case RECORD_RELEASE:
		return VFB_PHASE_CLOSE;
	case RECORD_POPULATE:
	case RECORD_PREALLOC:
		return VFB_PHASE_POPULATE;
	}
	return VFB_PHASE_SYSCALL;
}
