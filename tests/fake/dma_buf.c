/* SPDX-License-Identifier: MIT */
/* Parts of BARs as dma-bufs: drivers/vfio/pci/vfio_pci_dmabuf.c, Linux 6.19. */
#include "model.h"
#include "sys/uapi.h"

void fk_dma_buf_put(struct dma_buf *dma_buf)
{
	struct dma_buf **at;

	if (--dma_buf->refs)
		return;
	if (dma_buf->device) {
		at = &dma_buf->device->dma_bufs;
		while (*at != dma_buf)
			at = &(*at)->next;
		*at = dma_buf->next;
	}
	free(dma_buf);
}

static void revoke_mappings(struct fake *fake, const struct dma_buf *dma_buf)
{
	for (struct space *space = fake->spaces; space; space = space->next)
		for (size_t i = 0; i < space->count; i++)
			space->dmas[i]->revoked |= space->dmas[i]->dma_buf == dma_buf;
}

void fk_dma_buf_move(struct fake *fake, struct device *device, bool revoked)
{
	for (struct dma_buf *dma_buf = device->dma_bufs; dma_buf; dma_buf = dma_buf->next) {
		dma_buf->revoked = revoked;
		if (revoked)
			revoke_mappings(fake, dma_buf);
	}
}

void fk_dma_buf_forget(struct fake *fake, struct device *device)
{
	fk_dma_buf_move(fake, device, true);
	while (device->dma_bufs) {
		device->dma_bufs->device = NULL;
		device->dma_bufs = device->dma_bufs->next;
	}
}

static int export(struct fake *fake, struct device *device,
		  const struct vfb_vfio_device_feature_dma_buf *request)
{
	const struct vfb_vfio_region_dma_range *range = request->dma_ranges;
	struct dma_buf *dma_buf;
	uint64_t end;
	int fd;

	/* Several ranges can be had, but not be given to iommufd. */
	if (request->nr_ranges != 1 || request->flags)
		return -EINVAL;
	if (request->region_index >= ARRAY_SIZE(device->config.bars) ||
	    !device->config.bars[request->region_index].bytes)
		return -ENODEV;
	if (!range->length || (range->offset | range->length) % fk_page(fake) ||
	    __builtin_add_overflow(range->offset, range->length, &end) ||
	    end > device->config.bars[request->region_index].bytes)
		return -EINVAL;
	dma_buf = fk_xalloc(sizeof(*dma_buf));
	fd = fk_file_new(fake, FILE_DMA_BUF, "a dma-buf", dma_buf, NULL);
	if (fd < 0) {
		free(dma_buf);
		return fd;
	}
	*dma_buf = (struct dma_buf){
		.next = device->dma_bufs,
		.refs = 1,
		.device = device,
		.region = request->region_index,
		.offset = range->offset,
		.bytes = range->length,
		.revoked = !fk_region_enabled(device),
	};
	device->dma_bufs = dma_buf;
	return fd;
}

/* vfio_ioctl_device_feature() */
int fk_device_feature(struct fake *fake, struct device *device, void *arg)
{
	const struct vfio_device_feature *feature = arg;

	if (feature->argsz < sizeof(*feature))
		return -EINVAL;
	if ((feature->flags & VFIO_DEVICE_FEATURE_MASK) != VFB_VFIO_DEVICE_FEATURE_DMA_BUF ||
	    fake->config.no_dma_buf)
		return -ENOTTY;
	if (!(feature->flags & VFIO_DEVICE_FEATURE_GET) ||
	    feature->argsz < sizeof(*feature) + sizeof(struct vfb_vfio_device_feature_dma_buf) +
				     sizeof(struct vfb_vfio_region_dma_range))
		return -EINVAL;
	return export(fake, device, (const void *)feature->data);
}
