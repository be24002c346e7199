/* SPDX-License-Identifier: MIT */
#include "argument.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/uapi.h"

#define REQUEST(request) ((request)&0xff)
/* Smaller than any page. */
#define ARGUMENT_PAGE 4096

/* The beginnings of the arguments that are read; the kernel reads at least as much of each. */
union argument {
	struct vfio_iommu_type1_dma_map map;
	struct vfio_iommu_type1_dma_unmap unmap;
	struct vfb_iommu_ioas_map ioas_map;
	struct vfb_iommu_ioas_map_file file_map;
	struct vfb_iommu_ioas_unmap ioas_unmap;
	struct vfio_device_feature feature;
};

/* How much of the argument; 0: it says nothing that is recorded. */
static size_t argument_size(const struct record *record)
{
	bool is_container = record->target == VFB_IOCTL_CONTAINER;

	switch (record->request) {
	case REQUEST(VFIO_IOMMU_MAP_DMA):
		return is_container ? sizeof(struct vfio_iommu_type1_dma_map) : 0;
	case REQUEST(VFIO_IOMMU_UNMAP_DMA):
		return is_container ? sizeof(struct vfio_iommu_type1_dma_unmap) : 0;
	case REQUEST(VFIO_DEVICE_FEATURE):
		return is_container ? 0 : sizeof(struct vfio_device_feature);
	case REQUEST(VFB_IOMMU_IOAS_MAP):
		return sizeof(struct vfb_iommu_ioas_map);
	case REQUEST(VFB_IOMMU_IOAS_MAP_FILE):
		return sizeof(struct vfb_iommu_ioas_map_file);
	case REQUEST(VFB_IOMMU_IOAS_UNMAP):
		return sizeof(struct vfb_iommu_ioas_unmap);
	default:
		return 0;
	}
}

bool argument_is_read(const struct record *record)
{
	return argument_size(record);
}

/*
 * Whether the kernel can read there. futex(2), which every filter of system calls allows, compares
 * a word before it waits: EFAULT if there is none, EAGAIN if it is another, and if it happens to
 * be the same ETIMEDOUT, since the time has passed long ago.
 */
static bool argument_can_be_read(uintptr_t address)
{
	const struct timespec past = {0};

	return syscall(SYS_futex, address & ~(uintptr_t)3, FUTEX_WAIT_BITSET_PRIVATE, 0, &past,
		       NULL, FUTEX_BITSET_MATCH_ANY) >= 0 ||
	       errno != EFAULT;
}

static bool argument_copy(union argument *copy, const void *argument, size_t bytes)
{
	uintptr_t first = (uintptr_t)argument, last = first + bytes - 1;

	if (!bytes || last < first || !argument_can_be_read(first) ||
	    (first / ARGUMENT_PAGE != last / ARGUMENT_PAGE && !argument_can_be_read(last)))
		return false;
	memcpy(copy, argument, bytes);
	return true;
}

/* What devices will write to, the kernel would make present one page after another. */
static void argument_read_map(const struct vfio_iommu_type1_dma_map *map, struct record *record,
			      struct boost *boost)
{
	record->address = map->vaddr;
	record->bytes = map->size;
	record->iova = map->iova;
	if ((map->flags & (VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR)) !=
	    VFIO_DMA_MAP_FLAG_WRITE)
		return;
	boost->range.address = (void *)(uintptr_t)map->vaddr;
	boost->range.bytes = map->size;
}

static void argument_read_ioas_map(const struct vfb_iommu_ioas_map *map, struct record *record,
				   struct boost *boost)
{
	record->address = map->user_va;
	record->bytes = map->length;
	record->iova = map->iova;
	if (!(map->flags & VFB_IOMMU_IOAS_MAP_WRITEABLE))
		return;
	boost->range.address = (void *)(uintptr_t)map->user_va;
	boost->range.bytes = map->length;
}

static void argument_read_file_map(const struct vfb_iommu_ioas_map_file *map, struct record *record,
				   struct boost *boost)
{
	record->bytes = map->length;
	record->iova = map->iova;
	if (!(map->flags & VFB_IOMMU_IOAS_MAP_WRITEABLE))
		return;
	boost->range.flags = VFB_MEMORY_ADOPT_HAS_FD;
	boost->range.fd = map->fd;
	boost->range.fd_offset = map->start;
	boost->range.bytes = map->length;
}

void argument_read(const void *argument, struct record *record, struct boost *boost)
{
	union argument copy;

	/* No feature, until it is known. */
	record->feature = UINT16_MAX;
	if (!argument_copy(&copy, argument, argument_size(record)))
		return;
	switch (record->request) {
	case REQUEST(VFIO_IOMMU_MAP_DMA):
		argument_read_map(&copy.map, record, boost);
		break;
	case REQUEST(VFIO_IOMMU_UNMAP_DMA):
		record->bytes = copy.unmap.size;
		record->iova = copy.unmap.iova;
		break;
	case REQUEST(VFIO_DEVICE_FEATURE):
		record->feature = copy.feature.flags & VFIO_DEVICE_FEATURE_MASK;
		break;
	case REQUEST(VFB_IOMMU_IOAS_MAP):
		argument_read_ioas_map(&copy.ioas_map, record, boost);
		break;
	case REQUEST(VFB_IOMMU_IOAS_MAP_FILE):
		argument_read_file_map(&copy.file_map, record, boost);
		break;
	case REQUEST(VFB_IOMMU_IOAS_UNMAP):
		record->bytes = copy.ioas_unmap.length;
		record->iova = copy.ioas_unmap.iova;
		break;
	}
}
