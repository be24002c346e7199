/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "device/device.h"
#include "observe/error.h"
#include "options.h"
#include "sys/uapi.h"

static int read_region(const struct vfb_device *device, unsigned int index,
		       struct vfio_region_info *region)
{
	const struct vfb_sys *sys = device->space->ctx->sys;
	int error;

	if (index >= device->regions)
		return vfb_fail(-EINVAL, "device %s has no region %u, the last one is %u",
				device->pci.address, index, device->regions - 1);
	*region = (struct vfio_region_info){.argsz = sizeof(*region), .index = index};
	error = sys->ioctl(sys, device->fd, VFIO_DEVICE_GET_REGION_INFO, region);
	if (error)
		return vfb_fail_errno(error, "cannot read what region %u of device %s is", index,
				      device->pci.address);
	return 0;
}

int vfb_region_info(const struct vfb_device *device, unsigned int index,
		    struct vfb_region_info *info)
{
	struct vfb_region_info known = {0};
	struct vfio_region_info region;
	int error;

	error = read_region(device, index, &region);
	if (error)
		return error;
	known.bytes = region.size;
	if (region.flags & VFIO_REGION_INFO_FLAG_READ)
		known.flags |= VFB_REGION_READ;
	if (region.flags & VFIO_REGION_INFO_FLAG_WRITE)
		known.flags |= VFB_REGION_WRITE;
	if (region.flags & VFIO_REGION_INFO_FLAG_MMAP)
		known.flags |= VFB_REGION_MMAP;
	return vfb_struct_write(info, &known, sizeof(known));
}

/* The region, if @bytes at @offset may be accessed as @flag says. */
static int check_access(const struct vfb_device *device, unsigned int index, uint64_t offset,
			size_t bytes, uint32_t flag, struct vfio_region_info *region)
{
	int error = read_region(device, index, region);

	if (error)
		return error;
	if (offset > region->size || bytes > region->size - offset)
		return vfb_fail(-ERANGE,
				"region %u of device %s has %s, %zu bytes at offset 0x%" PRIx64
				" are beyond it",
				index, device->pci.address, vfb_size_text(region->size).text, bytes,
				offset);
	if (!(region->flags & flag))
		return vfb_fail(-ENOTSUP, "region %u of device %s cannot be %s", index,
				device->pci.address,
				flag == VFIO_REGION_INFO_FLAG_READ  ? "read" :
				flag == VFIO_REGION_INFO_FLAG_WRITE ? "written" :
								      "mapped");
	return 0;
}

static int transfer_failed(const struct vfb_device *device, unsigned int index, uint64_t offset,
			   ssize_t done)
{
	int error = done < 0 ? (int)done : -EIO;

	return vfb_fail_errno(error, "cannot access region %u of device %s at offset 0x%" PRIx64,
			      index, device->pci.address, offset);
}

int vfb_region_read(const struct vfb_device *device, unsigned int index, uint64_t offset,
		    void *buffer, size_t bytes)
{
	const struct vfb_sys *sys = device->space->ctx->sys;
	struct vfio_region_info region;
	ssize_t done;
	int error;

	error = check_access(device, index, offset, bytes, VFIO_REGION_INFO_FLAG_READ, &region);
	if (error)
		return error;
	done = sys->pread(sys, device->fd, buffer, bytes, region.offset + offset);
	return done == (ssize_t)bytes ? 0 : transfer_failed(device, index, offset, done);
}

int vfb_region_write(const struct vfb_device *device, unsigned int index, uint64_t offset,
		     const void *buffer, size_t bytes)
{
	const struct vfb_sys *sys = device->space->ctx->sys;
	struct vfio_region_info region;
	ssize_t done;
	int error;

	error = check_access(device, index, offset, bytes, VFIO_REGION_INFO_FLAG_WRITE, &region);
	if (error)
		return error;
	done = sys->pwrite(sys, device->fd, buffer, bytes, region.offset + offset);
	return done == (ssize_t)bytes ? 0 : transfer_failed(device, index, offset, done);
}

/* Called with the device's lock held. */
static int map_region(struct vfb_device *device, unsigned int index,
		      const struct vfio_region_info *region)
{
	const struct vfb_sys *sys = device->space->ctx->sys;
	struct vfb_region_mapping *mapping = &device->mappings[index];
	int prot = (region->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
		   (region->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
	void *address;
	int error;

	if (mapping->address)
		return vfb_fail(-EEXIST, "region %u of device %s is mapped already", index,
				device->pci.address);
	error = sys->mmap(sys, NULL, region->size, prot, MAP_SHARED, device->fd, region->offset,
			  &address);
	if (error)
		return vfb_fail_errno(error, "cannot map region %u of device %s", index,
				      device->pci.address);
	mapping->address = address;
	mapping->bytes = region->size;
	return 0;
}

int vfb_region_map(struct vfb_device *device, unsigned int index, void **out)
{
	struct vfio_region_info region;
	int error;

	*out = NULL;
	error = check_access(device, index, 0, 0, VFIO_REGION_INFO_FLAG_MMAP, &region);
	if (error)
		return error;
	pthread_mutex_lock(&device->lock);
	error = map_region(device, index, &region);
	if (!error)
		*out = device->mappings[index].address;
	pthread_mutex_unlock(&device->lock);
	return error;
}

int vfb_region_unmap(struct vfb_device *device, unsigned int index)
{
	const struct vfb_sys *sys = device->space->ctx->sys;
	struct vfb_region_mapping mapping = {0};

	pthread_mutex_lock(&device->lock);
	if (index < device->regions) {
		mapping = device->mappings[index];
		device->mappings[index].address = NULL;
	}
	pthread_mutex_unlock(&device->lock);
	if (!mapping.address)
		return vfb_fail(-ENOENT, "region %u of device %s is not mapped", index,
				device->pci.address);
	sys->munmap(sys, mapping.address, mapping.bytes);
	return 0;
}
