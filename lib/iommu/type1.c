/* SPDX-License-Identifier: MIT */
/*
 * type1: a container, to which the groups of the devices are attached. The first group creates the
 * domain. When the last one is detached, the container loses its IOMMU driver and all mappings. All
 * operations on the container take iommu->lock in the kernel, so maps never run in parallel.
 * Version 2 of the interface, since version 1 splits mappings on unmap, and into small ones on an
 * iommufd as the container.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "iommu/cause.h"
#include "iommu/legacy.h"
#include "observe/error.h"
#include "sys/info.h"

/* Fails unless the container can have a type1 IOMMU. */
static int type1_check(const struct vfb_sys *sys, int fd)
{
	if (vfb_legacy_has_extension(sys, fd, VFIO_TYPE1v2_IOMMU))
		return 0;
	if (vfb_legacy_has_extension(sys, fd, VFIO_SPAPR_TCE_v2_IOMMU))
		return vfb_fail(-ENOTSUP, "the IOMMU of this host is that of POWER, not type1: use "
					  "VFB_BACKEND_SPAPR, or VFB_BACKEND_AUTO");
	return vfb_fail(-ENOTSUP, "VFIO of this kernel has no type1 IOMMU: load the module "
				  "vfio_iommu_type1 (CONFIG_VFIO_IOMMU_TYPE1)");
}

/* Without an IOMMU driver, the container rejects the call. */
static void type1_look_for_domain(struct vfb_iommu *iommu)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};

	if (!type1->groups.first)
		iommu->has_domain = !iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_GET_INFO,
						       &info);
}

/*
 * After a call has failed: the caller's last group is gone, and with it the IOMMU driver of the
 * container and all mappings (vfio_group_detach_container()). Every call gives EINVAL then.
 */
static bool has_lost_domain(struct vfb_legacy *type1, int error)
{
	if (error != -EINVAL || !type1->iommu.adopted || type1->groups.first)
		return false;
	type1_look_for_domain(&type1->iommu);
	return !type1->iommu.has_domain;
}

static int type1_create(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
			struct vfb_iommu **out)
{
	struct vfb_legacy *type1;
	int error;

	type1 = calloc(1, sizeof(*type1));
	if (!type1)
		return vfb_fail_memory();
	error = vfb_legacy_open(type1, &vfb_iommu_type1, sys, source);
	if (error) {
		free(type1);
		return error;
	}
	error = type1_check(sys, type1->fd);
	if (error) {
		vfb_legacy_close(type1);
		free(type1);
		return error;
	}
	if (type1->iommu.adopted)
		type1_look_for_domain(&type1->iommu);
	*out = &type1->iommu;
	return 0;
}

static void type1_destroy(struct vfb_iommu *iommu)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);

	vfb_legacy_close(type1);
	free(type1);
}

/* Attaches an open group, and creates the domain if it is the first. */
static int type1_attach_group(struct vfb_iommu *iommu, int fd,
			      const struct vfb_iommu_device *device)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	bool has_iommu = vfb_legacy_has_iommu(type1);
	const struct vfb_sys *sys = iommu->sys;
	const char *call;
	int error;

	error = vfb_group_check_viable(sys, fd, device);
	if (error)
		return error;
	error = vfb_legacy_add_group(type1, fd, VFIO_TYPE1v2_IOMMU, &call);
	/* vfio_iommu_type1_attach_group(): something is mapped in its reserved regions. */
	if (error == -EINVAL && has_iommu &&
	    !vfb_firmware_check(sys, device->address, device->group))
		return vfb_group_reserves_iovas(device);
	if (error)
		return vfb_attach_failed(sys, error, device,
					 &(struct vfb_attempt){.call = call,
							       .module = "vfio_iommu_type1",
							       .is_open = true});
	return 0;
}

static int type1_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);

	return vfb_groups_hold(&type1->groups, iommu, device, type1_attach_group);
}

/* The answer of VFIO_IOMMU_GET_INFO with its capabilities, to be freed. */
static int read_info(struct vfb_legacy *type1, struct vfio_iommu_type1_info **out)
{
	struct vfio_iommu_type1_info head = {0};
	void *info;
	int error = vfb_info_read(type1->iommu.sys, type1->fd, VFIO_IOMMU_GET_INFO, &head,
				  sizeof(head), sizeof(head), &info);

	if (error)
		return vfb_fail_errno(error, "cannot read the properties of the IOMMU "
					     "(VFIO_IOMMU_GET_INFO)");
	*out = info;
	return 0;
}

static const void *find_capability(const struct vfio_iommu_type1_info *info, uint16_t id,
				   uint32_t size)
{
	return vfb_info_capability(info, info->argsz,
				   info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0, id,
				   size);
}

static int copy_ranges(const struct vfio_iommu_type1_info *info, struct vfb_iova_range **ranges,
		       size_t *count)
{
	struct vfio_iommu_type1_info_cap_iova_range head;
	const char *capability = find_capability(info, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
						 sizeof(head));
	size_t bytes;

	_Static_assert(sizeof(**ranges) == sizeof(head.iova_ranges[0]), "the same two numbers");
	/* Before Linux 5.4 there is no such capability: assume all IOVAs. */
	*count = 1;
	if (capability) {
		memcpy(&head, capability, sizeof(head));
		*count = head.nr_iovas;
	}
	bytes = *count * sizeof(**ranges);
	if (capability && bytes > info->argsz - sizeof(head) - (capability - (const char *)info))
		return vfb_fail(-EPROTO, "the kernel lists %zu IOVA ranges in %" PRIu32 " bytes",
				*count, info->argsz);
	*ranges = malloc(bytes ? bytes : 1);
	if (!*ranges)
		return vfb_fail_memory();
	if (capability)
		memcpy(*ranges, capability + sizeof(head), bytes);
	else
		(*ranges)[0] = (struct vfb_iova_range){0, UINT64_MAX};
	return 0;
}

static int type1_describe(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			  uint64_t *alignment, uint64_t *entries_left)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_info_dma_avail available;
	struct vfio_iommu_type1_info *info = NULL;
	const void *capability;
	int error;

	error = read_info(type1, &info);
	if (error)
		return error;
	error = copy_ranges(info, ranges, count);
	capability = find_capability(info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(available));
	*entries_left = UINT64_MAX;
	if (capability) {
		memcpy(&available, capability, sizeof(available));
		*entries_left = available.avail;
	}
	*alignment = info->iova_pgsizes & -info->iova_pgsizes;
	free(info);
	return error;
}

static int type1_map(struct vfb_iommu *iommu, struct vfb_iommu_map *map)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_dma_map dma_map = {
		.argsz = sizeof(dma_map),
		.flags = (map->flags & VFB_RANGE_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (map->flags & VFB_RANGE_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)map->address,
		.iova = map->iova,
		.size = map->bytes,
	};
	int error;

	error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_MAP_DMA, &dma_map);
	if (has_lost_domain(type1, error))
		return vfb_fail(-ENXIO,
				"nothing is attached to the container any more, and what was "
				"mapped is gone: unmap all, and attach a device first "
				"(VFIO_GROUP_SET_CONTAINER and VFIO_SET_IOMMU)");
	return error ? vfb_iommu_map_failed(iommu, error, map) : 0;
}

/* Linux 5.12. The memory stays pinned, and mapped for devices. */
static int type1_release_address(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = VFIO_DMA_UNMAP_FLAG_VADDR,
		.iova = iova,
		.size = bytes,
	};
	int error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_UNMAP_DMA, &unmap);

	return error ? vfb_fail_errno(error,
				      "cannot release the address of the mapping at IOVA 0x%" PRIx64
				      " (VFIO_DMA_UNMAP_FLAG_VADDR, needs Linux 5.12)",
				      iova) :
		       0;
}

static int type1_take_address(struct vfb_iommu *iommu, struct vfb_iommu_map *map)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_dma_map dma_map = {
		.argsz = sizeof(dma_map),
		.flags = VFIO_DMA_MAP_FLAG_VADDR,
		.vaddr = (uintptr_t)map->address,
		.iova = map->iova,
		.size = map->bytes,
	};
	int error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_MAP_DMA, &dma_map);

	if (!error)
		return 0;
	/* vfio_dma_do_map() */
	return vfb_fail_errno(error, "cannot take over the %s at IOVA 0x%" PRIx64 "%s",
			      vfb_size_text(map->bytes).text, map->iova,
			      error == -ENOENT ? ", where nothing is mapped" :
			      error == -EINVAL ? ", which are not a range that was mapped as a "
						 "whole and whose address was released" :
						 "");
}

static int type1_unmap(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = bytes,
	};
	int error;

	error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_UNMAP_DMA, &unmap);
	if (has_lost_domain(type1, error))
		return 0;
	if (error)
		return vfb_fail_errno(error, "cannot unmap %s at IOVA 0x%" PRIx64,
				      vfb_size_text(bytes).text, iova);
	return 0;
}

/* Linux 5.8. */
static int type1_track_dirty(struct vfb_iommu *iommu, bool on)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct vfio_iommu_type1_dirty_bitmap request = {
		.argsz = sizeof(request),
		.flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
	};
	int error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_DIRTY_PAGES, &request);

	return error ? vfb_fail_errno(error,
				      "cannot %s tracking what devices write to "
				      "(VFIO_IOMMU_DIRTY_PAGES)",
				      on ? "begin" : "end") :
		       0;
}

/* Reports why bits cannot be read: vfio_iova_dirty_bitmap(), verify_bitmap_size(). */
static int type1_dirty_failed(int error, uint64_t iova, uint64_t bytes)
{
	return vfb_fail_errno(error,
			      "cannot read what devices have written to of %s at IOVA 0x%" PRIx64
			      " (VFIO_IOMMU_DIRTY_PAGES)%s",
			      vfb_size_text(bytes).text, iova,
			      error == -EINVAL ? ": it begins or ends within a mapping, exceeds 8 "
						 "TiB, or nothing is tracked "
						 "(vfb_space_track_dirty())" :
						 "");
}

static int type1_read_dirty(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes, uint64_t page,
			    uint64_t *bitmap)
{
	struct vfb_legacy *type1 = container_of(iommu, struct vfb_legacy, iommu);
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} request = {
		.head.argsz = sizeof(request),
		.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.get.iova = iova,
		.get.size = bytes,
		.get.bitmap.pgsize = page,
		.get.bitmap.size = (bytes / page + 63) / 64 * 8,
		.get.bitmap.data = (void *)bitmap,
	};
	int error = iommu->sys->ioctl(iommu->sys, type1->fd, VFIO_IOMMU_DIRTY_PAGES, &request);

	return error ? type1_dirty_failed(error, iova, bytes) : 0;
}

const struct vfb_iommu_ops vfb_iommu_type1 = {
	.name = "type1",
	.attach_call = "VFIO_GROUP_SET_CONTAINER",
	.detach_call = "VFIO_GROUP_UNSET_CONTAINER",
	.open_call = "VFIO_GROUP_GET_DEVICE_FD",
	.map_call = "VFIO_IOMMU_MAP_DMA",
	.unmap_call = "VFIO_IOMMU_UNMAP_DMA",
	.usual = VFB_USUAL_IOVAS,
	.backend = VFB_BACKEND_TYPE1,
	.attach_makes_domain = true,
	.mappings_need_domain = true,
	/* mm->locked_vm: vfio_lock_acct(). */
	.locked_key = "VmLck",
	.create = type1_create,
	.destroy = type1_destroy,
	.look_for_domain = type1_look_for_domain,
	.attach = type1_attach,
	.detach = vfb_legacy_detach,
	.open_device = vfb_legacy_open_device,
	.group_fd = vfb_legacy_group_fd,
	.describe = type1_describe,
	.map = type1_map,
	.release_address = type1_release_address,
	.take_address = type1_take_address,
	.file = vfb_legacy_file,
	.unmap = type1_unmap,
	.track_dirty = type1_track_dirty,
	.read_dirty = type1_read_dirty,
};
