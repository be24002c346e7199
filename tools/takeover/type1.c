/* SPDX-License-Identifier: MIT */
/* Answers in the name of a type1 container, and of groups that are in it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/stat.h>

#include "next.h"
#include "takeover.h"

#define RIGHTS (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

/* ---- Mappings ---- */

/*
 * The mappings of the slot stay without an address (VFIO_DMA_MAP_FLAG_VADDR): the kernel needs it
 * for mediated devices only, and would charge the pages to this process, which may lack the limit.
 */

static int type1_map(struct vfio_iommu_type1_dma_map *map)
{
	map->argsz = sizeof(*map);
	return NEXT(ioctl)(takeover.iommu, VFIO_IOMMU_MAP_DMA, map) ? -errno : 0;
}

static int type1_map_part(void *arg, uint64_t iova, uint64_t end)
{
	struct vfio_iommu_type1_dma_map map;

	takeover_say("the kernel maps %#lx-%#lx", iova, end);
	memcpy(&map, arg, sizeof(map));
	map.vaddr += iova - map.iova;
	map.iova = iova;
	map.size = end - iova;
	return type1_map(&map);
}

static int type1_unmap_part(uint64_t iova, uint64_t end, uint64_t *bytes)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = end - iova,
	};

	if (NEXT(ioctl)(takeover.iommu, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -errno;
	if (unmap.size)
		takeover_say("the kernel unmaps %#lx-%#lx", iova, end);
	*bytes += unmap.size;
	return 0;
}

static int type1_map_piece(const struct ledger_piece *piece)
{
	struct vfio_iommu_type1_dma_map map = {
		.flags = RIGHTS,
		.vaddr = piece->address,
		.iova = piece->iova,
		.size = piece->end - piece->iova,
	};

	takeover_say("the kernel maps %#lx-%#lx of the slot", piece->iova, piece->end);
	return type1_map(&map);
}

const struct ledger_ops type1_ledger_ops = {
	.map = type1_map_part,
	.unmap = type1_unmap_part,
	.map_piece = type1_map_piece,
};

static bool type1_map_request(struct vfio_iommu_type1_dma_map *map, int *result)
{
	struct ledger_request request = {
		.iova = map->iova,
		.end = map->iova + map->size,
		.address = map->vaddr,
	};

	/* What the kernel refuses, it is asked for. */
	if (request.end <= request.iova || map->flags & ~RIGHTS)
		return false;
	request.is_slot = map->flags == RIGHTS && where_is(map->vaddr, map->size, &request.offset);
	*result = takeover_map_locked(&request, map);
	return true;
}

static bool type1_unmap_request(struct vfio_iommu_type1_dma_unmap *unmap, int *result)
{
	bool all = unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	uint64_t end = unmap->iova + unmap->size, bytes = 0;

	if (!unmap->flags && end > unmap->iova) {
		*result = takeover_unmap_locked(unmap->iova, end, &bytes);
		unmap->size = bytes;
		return true;
	}
	if (unmap->flags & VFIO_DMA_UNMAP_FLAG_VADDR)
		return false;
	/* As with a bitmap of dirty pages: the kernel does it for what the program has mapped. */
	takeover_reconcile_locked();
	*result = NEXT(ioctl)(takeover.iommu, VFIO_IOMMU_UNMAP_DMA, unmap);
	if (!*result)
		ledger_forget(&takeover.ledger, all ? 0 : unmap->iova, all ? UINT64_MAX : end);
	return true;
}

bool type1_answer_locked(unsigned long request, void *arg, int *result)
{
	*result = 0;
	switch (request) {
	case VFIO_SET_IOMMU:
		return (unsigned long)arg == VFIO_TYPE1v2_IOMMU;
	case VFIO_IOMMU_MAP_DMA:
		return type1_map_request(arg, result);
	case VFIO_IOMMU_UNMAP_DMA:
		return type1_unmap_request(arg, result);
	default:
		return false;
	}
}

/* ---- Groups ---- */

/* A container that the program has opened, and not used yet, becomes the slot's. */
static bool type1_replace_container(int fd)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	struct stat file;

	if (takeover.is_given || fstat(fd, &file) || !S_ISCHR(file.st_mode) ||
	    file.st_rdev != takeover.iommu_node || !NEXT(ioctl)(fd, VFIO_IOMMU_GET_INFO, &info) ||
	    NEXT(dup3)(takeover.iommu, fd, O_CLOEXEC) < 0)
		return false;
	takeover_file_add(fd, TAKEOVER_IOMMU, 1);
	takeover.is_given = true;
	takeover.ledger.dirty = true;
	defer_until_unlock();
	takeover_say("the container is that of the slot");
	return true;
}

/* The slot's own is still open: nothing stays mapped there. */
void type1_closed_locked(void)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};

	takeover_say("the kernel unmaps %#lx-%#lx", 0UL, UINT64_MAX);
	NEXT(ioctl)(takeover.iommu, VFIO_IOMMU_UNMAP_DMA, &unmap);
	ledger_forget(&takeover.ledger, 0, UINT64_MAX);
	takeover.is_given = false;
}

static bool type1_set_container(unsigned int group, const int *fd)
{
	takeover_activate_locked();
	if (takeover_file_of(*fd).kind != TAKEOVER_IOMMU && !type1_replace_container(*fd))
		return false;
	takeover_say("group %u is in the container already", group);
	return true;
}

/* @name may have a token behind the address: VFIO_GROUP_GET_DEVICE_FD. */
static bool type1_get_device(unsigned int group, const char *name, int *result)
{
	const struct vfb_wire_grant *grant = &takeover.settings.grant;
	size_t length = strcspn(name, " ");

	for (size_t i = 0; i < grant->device_count; i++)
		if (grant->device_ids[i] == group && strlen(grant->devices[i]) == length &&
		    !memcmp(grant->devices[i], name, length)) {
			takeover.devices[i].is_used = true;
			defer_fresh();
			*result = takeover_give(takeover.devices[i].fd, TAKEOVER_DEVICE, i);
			takeover_say("%s is open already", grant->devices[i]);
			return true;
		}
	return false;
}

bool type1_answer_group_locked(unsigned int index, unsigned long request, void *arg, int *result)
{
	*result = 0;
	switch (request) {
	case VFIO_GROUP_SET_CONTAINER:
		return type1_set_container(index, arg);
	case VFIO_GROUP_UNSET_CONTAINER:
		return true;
	case VFIO_GROUP_GET_DEVICE_FD:
		return type1_get_device(index, arg, result);
	default:
		return false;
	}
}
