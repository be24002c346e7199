/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <errno.h>
#include <linux/major.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "sys/uapi.h"

#define FIRST_IOMMUFD_REQUEST 0x80
#define REQUEST(number)	      ((number)&0xff)

/*
 * Containers and iommufds, which take a container's requests too, are misc devices. A device has
 * a major number of VFIO's own, or is an anonymous inode if its group has opened it.
 */
static enum vfb_ioctl_target target_of_file(int fd)
{
	struct stat file;

	if (!fstat(fd, &file) && S_ISCHR(file.st_mode) && major(file.st_rdev) == MISC_MAJOR)
		return VFB_IOCTL_CONTAINER;
	return VFB_IOCTL_DEVICE;
}

enum vfb_ioctl_target target_of(int fd, unsigned int request)
{
	if (request >= FIRST_IOMMUFD_REQUEST)
		return VFB_IOCTL_IOMMUFD;
	if (request <= REQUEST(VFIO_SET_IOMMU))
		return VFB_IOCTL_CONTAINER;
	if (request <= REQUEST(VFIO_GROUP_GET_DEVICE_FD))
		return VFB_IOCTL_GROUP;
	if (request <= REQUEST(VFIO_DEVICE_RESET))
		return VFB_IOCTL_DEVICE;
	return target_of_file(fd);
}

bool target_is_certain(unsigned int request)
{
	return request <= REQUEST(VFIO_DEVICE_RESET) || request >= FIRST_IOMMUFD_REQUEST;
}

/* Questions, and the answer "no"; of iommufd, a request to come back with a larger buffer. */
static const struct {
	enum vfb_ioctl_target target;
	uint8_t request;
	int error;
} target_probes[] = {
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_FEATURE), ENOTTY},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_GET_REGION_INFO), EINVAL},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_GET_IRQ_INFO), EINVAL},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO), ENOSPC},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO), ENODEV},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_QUERY_GFX_PLANE), EINVAL},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_QUERY_GFX_PLANE), ENOTTY},
	{VFB_IOCTL_DEVICE, REQUEST(VFIO_DEVICE_IOEVENTFD), ENOTTY},
	{VFB_IOCTL_IOMMUFD, REQUEST(VFB_IOMMU_IOAS_IOVA_RANGES), EMSGSIZE},
	{VFB_IOCTL_IOMMUFD, REQUEST(VFB_IOMMU_HWPT_ALLOC), EOPNOTSUPP},
};

bool target_is_failure(const struct record *record)
{
	if (record->result >= 0)
		return false;
	for (size_t i = 0; i < sizeof(target_probes) / sizeof(target_probes[0]); i++)
		if (record->kind == RECORD_IOCTL && record->target == target_probes[i].target &&
		    record->request == target_probes[i].request &&
		    record->result == -target_probes[i].error)
			return false;
	return true;
}

uint64_t target_number(const char *address)
{
	unsigned int domain, bus, slot, function;

	if (sscanf(address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return 0;
	return ((uint64_t)domain << 16 | bus << 8 | slot << 3 | function) + 1;
}

void target_address(uint64_t device, char address[TARGET_ADDRESS])
{
	uint64_t number = device - 1;

	address[0] = '\0';
	if (device)
		snprintf(address, TARGET_ADDRESS, "%04x:%02x:%02x.%x", (unsigned int)(number >> 16),
			 (unsigned int)(number >> 8 & 0xff), (unsigned int)(number >> 3 & 0x1f),
			 (unsigned int)(number & 7));
}
