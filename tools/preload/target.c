/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#define FIRST_IOMMUFD_REQUEST 0x80
#define REQUEST(number)	      ((number)&0xff)

/*
 * A device number, 0 until it is known. It is looked up when the command starts, where it sees
 * /dev and no filter of system calls is in place; later only when the module was not loaded then.
 */
static dev_t number_of(const char *path, atomic_uint_fast64_t *known)
{
	struct stat node;

	if (!atomic_load(known) && !stat(path, &node))
		atomic_store(known, node.st_rdev);
	return atomic_load(known);
}

static dev_t container_number(void)
{
	static atomic_uint_fast64_t known;

	return number_of("/dev/vfio/vfio", &known);
}

static dev_t iommufd_number(void)
{
	static atomic_uint_fast64_t known;

	return number_of("/dev/iommu", &known);
}

void target_prepare(void)
{
	container_number();
	iommufd_number();
}

enum vfb_ioctl_target target_of(int fd, unsigned int request)
{
	struct stat file;

	if (request >= FIRST_IOMMUFD_REQUEST)
		return VFB_IOCTL_IOMMUFD;
	/* A device that its group has opened is an anonymous inode. */
	if (fstat(fd, &file) || !S_ISCHR(file.st_mode))
		return VFB_IOCTL_DEVICE;
	/* An iommufd takes a container's requests, too. */
	if (file.st_rdev == container_number() || file.st_rdev == iommufd_number())
		return VFB_IOCTL_CONTAINER;
	if (request >= REQUEST(VFIO_GROUP_GET_STATUS) &&
	    request <= REQUEST(VFIO_GROUP_GET_DEVICE_FD))
		return VFB_IOCTL_GROUP;
	return VFB_IOCTL_DEVICE;
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
