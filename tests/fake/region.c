/* SPDX-License-Identifier: MIT */
/* Regions of a device: configuration space, BARs as plain memory, the ROM. */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"

#define OFFSET_SHIFT 40

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value & 0xff;
	at[1] = value >> 8;
}

void fk_region_enable_requests(struct device *device)
{
	if (device->config.requests_pages && device->ioas && device->ioas->queue)
		device->space[PCI_CFG_SPACE_SIZE + PCI_PRI_CTRL] |= PCI_PRI_CTRL_ENABLE;
}

/* As after a reset; the memory behind the BARs is cleared, in place. */
void fk_region_reset(struct device *device)
{
	const struct fake_device *config = &device->config;

	memset(device->space, 0, sizeof(device->space));
	put16(device->space, config->vendor_id);
	put16(device->space + 2, config->device_id);
	put16(device->space + PCI_COMMAND, PCI_COMMAND_MEMORY);
	device->space[9] = config->class_code & 0xff;
	put16(device->space + 10, config->class_code >> 8);
	/* What has enabled it restores that: pci_restore_pri_state(). */
	if (config->requests_pages) {
		put16(device->space + PCI_CFG_SPACE_SIZE, PCI_EXT_CAP_ID_PRI);
		put16(device->space + PCI_CFG_SPACE_SIZE + 2, 1);
		fk_region_enable_requests(device);
	}
	for (int i = 0; i < 6; i++) {
		if (device->bar_fds[i] < 0)
			continue;
		if (fallocate(device->bar_fds[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      config->bars[i].bytes))
			abort();
	}
}

/* Bytes of the pages that a BAR is on, which it has to itself. */
static uint64_t bar_pages(const struct fake *fake, const struct device *device, unsigned int index)
{
	uint64_t page = fk_page(fake);

	return (device->config.bars[index].bytes + page - 1) / page * page;
}

/* Whether it can be mapped: smaller ones share their page (vfio_pci_probe_mmaps()). */
static bool bar_can_map(const struct fake_bar *bar)
{
	return !bar->no_mmap && bar->bytes >= 4 * FAKE_KIB;
}

/* Created when first needed, and kept. */
static int bar_fd(const struct fake *fake, struct device *device, unsigned int index)
{
	if (device->bar_fds[index] < 0) {
		int fd = memfd_create("bar", MFD_CLOEXEC);

		if (fd < 0 || ftruncate(fd, bar_pages(fake, device, index)))
			abort();
		device->bar_fds[index] = fd;
	}
	return device->bar_fds[index];
}

/* The first and the last page of a BAR. */
static void put_sparse(const struct fake_device *config, uint64_t page,
		       struct vfio_region_info *info, void *arg)
{
	struct {
		struct vfio_region_info_cap_sparse_mmap capability;
		struct vfio_region_sparse_mmap_area areas[2];
	} sparse = {
		.capability = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			       .nr_areas = config->sparse_too_many ? UINT32_MAX : 2},
		.areas = {{0, page},
			  {info->size - page, config->sparse_beyond ? UINT64_MAX : page}},
	};
	size_t bytes = sizeof(*info) + sizeof(sparse);

	info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (info->argsz >= bytes) {
		info->cap_offset = sizeof(*info);
		memcpy((char *)arg + sizeof(*info), &sparse, sizeof(sparse));
	}
	info->argsz = bytes;
}

int fk_region_info(const struct fake *fake, struct device *device, void *arg)
{
	struct vfio_region_info info;
	const struct fake_bar *bar;

	memcpy(&info, arg, sizeof(info));
	if (info.argsz < sizeof(info))
		return -EINVAL;
	/* VGA is only there on VGA devices. */
	if (info.index >= VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL;
	info.offset = (uint64_t)info.index << OFFSET_SHIFT;
	info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info.cap_offset = 0;
	if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info.size = sizeof(device->space);
	} else if (info.index == VFIO_PCI_ROM_REGION_INDEX) {
		info.size = device->config.rom_bytes;
		info.flags = info.size ? VFIO_REGION_INFO_FLAG_READ : 0;
	} else {
		bar = &device->config.bars[info.index];
		info.size = bar->bytes;
		if (!info.size)
			info.flags = 0;
		else if (bar_can_map(bar))
			info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
	}
	if (device->config.sparse_bars && info.flags & VFIO_REGION_INFO_FLAG_MMAP)
		put_sparse(&device->config, fk_page(fake), &info, arg);
	memcpy(arg, &info, sizeof(info));
	return 0;
}

bool fk_region_enabled(const struct device *device)
{
	return device->space[PCI_COMMAND] & PCI_COMMAND_MEMORY;
}

static ssize_t config_rw(struct fake *fake, struct device *device, void *buf, size_t bytes,
			 uint64_t at, bool write)
{
	if (at >= sizeof(device->space) || bytes > sizeof(device->space) - at)
		return -EFAULT;
	/* The identity is read-only; the rest is plain memory. */
	for (size_t i = 0; write && i < bytes; i++)
		if (at + i >= PCI_COMMAND && (at + i < 8 || at + i >= 12))
			device->space[at + i] = ((const uint8_t *)buf)[i];
	if (write)
		fk_dma_buf_move(fake, device, !fk_region_enabled(device));
	if (!write)
		memcpy(buf, device->space + at, bytes);
	return bytes;
}

static ssize_t bar_rw(const struct fake *fake, struct device *device, unsigned int index, void *buf,
		      size_t bytes, uint64_t at, bool write)
{
	ssize_t done;

	if (at >= device->config.bars[index].bytes)
		return -EINVAL;
	if (!fk_region_enabled(device))
		return -EIO;
	bytes = min_u64(bytes, device->config.bars[index].bytes - at);
	done = write ? pwrite(bar_fd(fake, device, index), buf, bytes, at) :
		       pread(bar_fd(fake, device, index), buf, bytes, at);
	return done < 0 ? -errno : done;
}

static ssize_t rom_rw(struct device *device, void *buf, size_t bytes, uint64_t at, bool write)
{
	if (write || at >= device->config.rom_bytes)
		return -EINVAL;
	bytes = min_u64(bytes, device->config.rom_bytes - at);
	memset(buf, 0xff, bytes);
	return bytes;
}

ssize_t fk_region_rw(struct fake *fake, struct device *device, void *buf, size_t bytes,
		     off_t offset, bool write)
{
	unsigned int index = (uint64_t)offset >> OFFSET_SHIFT;
	uint64_t at = (uint64_t)offset & ((UINT64_C(1) << OFFSET_SHIFT) - 1);

	if (!bytes)
		return 0;
	if (index < VFIO_PCI_ROM_REGION_INDEX)
		return bar_rw(fake, device, index, buf, bytes, at, write);
	if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		return config_rw(fake, device, buf, bytes, at, write);
	if (index == VFIO_PCI_ROM_REGION_INDEX)
		return rom_rw(device, buf, bytes, at, write);
	return -EINVAL;
}

/* vfio_pci_core_mmap() */
int fk_region_map(const struct fake *fake, struct device *device, uint64_t offset, uint64_t bytes,
		  int flags, int *fd)
{
	unsigned int index = offset >> OFFSET_SHIFT;
	uint64_t at = offset & ((UINT64_C(1) << OFFSET_SHIFT) - 1);
	const struct fake_bar *bar;

	if (!(flags & MAP_SHARED) || index >= VFIO_PCI_ROM_REGION_INDEX)
		return -EINVAL;
	bar = &device->config.bars[index];
	if (!bar_can_map(bar) || at + bytes > bar_pages(fake, device, index))
		return -EINVAL;
	*fd = bar_fd(fake, device, index);
	return 0;
}

uint32_t fake_register(struct fake *fake, const char *address, unsigned int bar, uint64_t offset)
{
	uint32_t value = 0;

	pthread_mutex_lock(&fake->lock);
	if (pread(bar_fd(fake, fk_device_find(fake, address), bar), &value, sizeof(value),
		  offset) != sizeof(value))
		abort();
	pthread_mutex_unlock(&fake->lock);
	return value;
}
