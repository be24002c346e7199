/* SPDX-License-Identifier: MIT */
/* What devices do to what is mapped for them. */
#include <unistd.h>

#include "model.h"

/* What the device reaches; NULL: nothing. */
static const struct space *space_of(const struct device *device)
{
	const struct container *container = device->group->container;

	if (device->ioas && device->ioas->has_domain)
		return &device->ioas->space;
	return container && container->has_iommu ? &container->space : NULL;
}

static bool write_bar(struct device *device, unsigned int index, uint64_t offset, const void *data,
		      size_t bytes)
{
	return fk_region_enabled(device) &&
	       pwrite(device->bar_fds[index], data, bytes, offset) == (ssize_t)bytes;
}

static bool write_address(struct fake *fake, uint64_t address, const void *data, size_t bytes)
{
	const struct vma *vma = fk_vma_find(fake, address);

	/* Pinned memory is there even when it is not mapped any more; but not here. */
	if (!vma || address + bytes > vma->end)
		return false;
	if (vma->device && !fk_region_enabled(vma->device->devfile->device))
		return false;
	memcpy((void *)(uintptr_t)address, data, bytes);
	return true;
}

static bool write_dma(struct fake *fake, const struct dma *dma, uint64_t offset, const void *data,
		      size_t bytes)
{
	if (dma->dma_buf)
		return write_bar(dma->dma_buf->device, dma->dma_buf->region,
				 dma->dma_buf->offset + offset, data, bytes);
	if (dma->object)
		return pwrite(dma->file_fd, data, bytes, dma->file_offset + offset) ==
		       (ssize_t)bytes;
	return write_address(fake, dma->vaddr + offset, data, bytes);
}

bool fake_dma_write(struct fake *fake, const char *address, uint64_t iova, const void *data,
		    size_t bytes)
{
	const struct space *space;
	struct device *device;
	struct dma *dma = NULL;
	bool done = false;

	kernel_enter(&fake->sys);
	device = fk_device_find(fake, address);
	space = space_of(device);
	if (space)
		dma = fk_space_find(space, iova, iova);
	if (dma && dma->write && !dma->busy && !dma->revoked && bytes - 1 <= dma->last - iova)
		done = write_dma(fake, dma, iova - dma->iova, data, bytes);
	if (done)
		fk_dirty_mark(space, dma, iova - dma->iova, bytes);
	kernel_leave(fake);
	return done;
}
