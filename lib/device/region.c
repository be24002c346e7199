/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "device/device.h"
#include "observe/error.h"
#include "options.h"
#include "sys/info.h"

static int check_index(const struct vfb_device *device, unsigned int index)
{
	if (index < device->regions)
		return 0;
	return vfb_fail(-EINVAL, "device %s has no region %u, it has %u regions",
			device->pci.address, index, device->regions);
}

static int read_failed(const struct vfb_device *device, unsigned int index, int error)
{
	return vfb_fail_errno(error, "cannot read what region %u of device %s is", index,
			      device->pci.address);
}

static int read_region(const struct vfb_device *device, unsigned int index,
		       struct vfio_region_info *region)
{
	const struct vfb_sys *sys = device->ctx->sys;
	int error = check_index(device, index);

	if (error)
		return error;
	error = sys->ioctl(sys, device->fd, VFIO_DEVICE_GET_REGION_INFO, region);
	return error ? read_failed(device, index, error) : 0;
}

int vfb_region_read_info(const struct vfb_device *device, unsigned int index,
			 struct vfio_region_info **out)
{
	struct vfio_region_info head = {.index = index};
	void *info;
	int error = check_index(device, index);

	if (error)
		return error;
	error = vfb_info_read(device->ctx->sys, device->fd, VFIO_DEVICE_GET_REGION_INFO, &head,
			      sizeof(head), sizeof(head), &info);
	if (error)
		return read_failed(device, index, error);
	*out = info;
	return 0;
}

int vfb_region_info(struct vfb_device *device, unsigned int index, struct vfb_region_info *info)
{
	struct vfio_region_info region = {.argsz = sizeof(region), .index = index};
	struct vfb_region_info known = {0};
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
	pthread_mutex_lock(&device->lock);
	known.page_bytes = device->mappings[index].page_bytes;
	pthread_mutex_unlock(&device->lock);
	return vfb_struct_write(info, &known, sizeof(known));
}

/* The region, if @bytes at @offset may be accessed as @flag says. */
static int check_access(const struct vfb_device *device, unsigned int index, uint64_t offset,
			size_t bytes, uint32_t flag, struct vfio_region_info *region)
{
	int error;

	*region = (struct vfio_region_info){.argsz = sizeof(*region), .index = index};
	error = read_region(device, index, region);
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
				flag == VFIO_REGION_INFO_FLAG_READ ? "read" : "written");
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
	const struct vfb_sys *sys = device->ctx->sys;
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
	const struct vfb_sys *sys = device->ctx->sys;
	struct vfio_region_info region;
	ssize_t done;
	int error;

	error = check_access(device, index, offset, bytes, VFIO_REGION_INFO_FLAG_WRITE, &region);
	if (error)
		return error;
	done = sys->pwrite(sys, device->fd, buffer, bytes, region.offset + offset);
	return done == (ssize_t)bytes ? 0 : transfer_failed(device, index, offset, done);
}

static int check_register(const struct vfb_device *device, unsigned int index, uint64_t offset,
			  unsigned int width)
{
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return vfb_fail(-EINVAL, "a register has 1, 2, 4 or 8 bytes, not %u", width);
	if (offset % width)
		return vfb_fail(-EINVAL,
				"offset 0x%" PRIx64 " in region %u of device %s is not a multiple "
				"of the register's %u bytes: use vfb_region_read() for what is no "
				"register",
				offset, index, device->pci.address, width);
	return 0;
}

int vfb_region_load(const struct vfb_device *device, unsigned int index, uint64_t offset,
		    unsigned int width, uint64_t *value)
{
	uint64_t raw = 0;
	int error;

	error = check_register(device, index, offset, width);
	if (!error)
		error = vfb_region_read(device, index, offset, &raw, width);
	if (!error)
		*value = le64toh(raw);
	return error;
}

int vfb_region_store(const struct vfb_device *device, unsigned int index, uint64_t offset,
		     unsigned int width, uint64_t value)
{
	uint64_t raw = htole64(value);
	int error;

	error = check_register(device, index, offset, width);
	if (!error && width < 8 && value >> (8 * width))
		error = vfb_fail(-ERANGE, "value 0x%" PRIx64 " has more than %u bytes", value,
				 width);
	return error ? error : vfb_region_write(device, index, offset, &raw, width);
}
