/* SPDX-License-Identifier: MIT */
/*
 * iommufd: one file descriptor with one I/O address space (IOAS) in it. Devices are opened by
 * their node, bound, and attached to the IOAS; the first one brings an automatic domain, which
 * goes with the last. Without a domain, IOMMU_IOAS_MAP pins nothing, and the next device to be
 * attached has to wait for all of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "container_of.h"
#include "iommu/iommu.h"
#include "observe/error.h"
#include "sys/uapi.h"

struct iommufd {
	struct vfb_iommu iommu;
	int fd;
	uint32_t ioas;
};

static int iommufd_create(const struct vfb_sys *sys, struct vfb_iommu **out)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct iommufd *iommufd;
	int error;

	iommufd = calloc(1, sizeof(*iommufd));
	if (!iommufd)
		return vfb_fail_memory();
	iommufd->iommu.ops = &vfb_iommu_iommufd;
	iommufd->iommu.sys = sys;
	iommufd->fd = vfb_iommu_open_node(sys, "/dev/iommu");
	if (iommufd->fd < 0) {
		error = iommufd->fd;
		free(iommufd);
		return error;
	}
	error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_IOAS_ALLOC, &alloc);
	if (error) {
		sys->close(sys, iommufd->fd);
		free(iommufd);
		return vfb_fail_errno(error, "cannot make an I/O address space (IOMMU_IOAS_ALLOC)");
	}
	iommufd->ioas = alloc.out_ioas_id;
	*out = &iommufd->iommu;
	return 0;
}

static void iommufd_destroy(struct vfb_iommu *iommu)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);

	/* The IOAS goes with its file. */
	iommu->sys->close(iommu->sys, iommufd->fd);
	free(iommufd);
}

static int iommufd_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	(void)iommu;
	if (device->node[0])
		return 0;
	return vfb_fail(-ENOTSUP,
			"device %s has no node below /dev/vfio/devices: iommufd needs "
			"Linux 6.6 or later with CONFIG_VFIO_DEVICE_CDEV, use type1",
			device->address);
}

static void iommufd_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	/* Closing the device has done it. */
	(void)iommu;
	(void)device;
}

static int attach_ioas(struct iommufd *iommufd, int fd, const char *address)
{
	struct vfb_vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = iommufd->ioas,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error;

	error = sys->ioctl(sys, fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
	if (error == -EADDRINUSE)
		return vfb_fail(
			error,
			"device %s cannot use some of the IOVAs that are mapped "
			"(see reserved_regions of its IOMMU group in sysfs): open it before "
			"mapping, and map elsewhere",
			address);
	if (error)
		return vfb_fail_errno(error, "cannot attach device %s to the I/O address space",
				      address);
	return 0;
}

static int iommufd_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd->fd,
	};
	char path[64];
	int fd, error;

	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", device->node);
	fd = vfb_iommu_open_node(iommu->sys, path);
	if (fd < 0)
		return fd;
	error = iommu->sys->ioctl(iommu->sys, fd, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);
	switch (error) {
	case 0:
		error = attach_ioas(iommufd, fd, device->address);
		break;
	case -EBUSY:  /* opened through its group */
	case -EINVAL: /* bound already: vfio_df_open() */
		error = vfb_fail(-EBUSY,
				 "device %s is in use by another process or another space: "
				 "end that first (fuser -v %s)",
				 device->address, path);
		break;
	case -EPERM: /* iommu_device_claim_dma_owner() */
		vfb_fail(error,
			 "the IOMMU group %d of device %s is not viable: bind all of its "
			 "devices to vfio-pci, or to no driver, and open all of them in one "
			 "space (see /sys/kernel/iommu_groups/%d/devices)",
			 device->group, device->address, device->group);
		break;
	default:
		vfb_fail_errno(error, "cannot bind device %s to iommufd", device->address);
	}
	if (!error)
		return fd;
	iommu->sys->close(iommu->sys, fd);
	return error;
}

static int iommufd_describe(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			    uint64_t *alignment, uint64_t *entries_left)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_iova_ranges query = {.size = sizeof(query), .ioas_id = iommufd->ioas};
	struct vfb_iommu_iova_range *found = NULL;
	int error;

	/* Asked with room for none, then with room for all; there may be more by then. */
	do {
		struct vfb_iommu_iova_range *larger;

		larger = realloc(found, (query.num_iovas + 1) * sizeof(*found));
		if (!larger) {
			free(found);
			return vfb_fail_memory();
		}
		found = larger;
		query.allowed_iovas = (uintptr_t)found;
		error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_IOVA_RANGES,
					  &query);
	} while (error == -EMSGSIZE);
	if (error) {
		free(found);
		return vfb_fail_errno(error, "cannot read the valid IOVA ranges "
					     "(IOMMU_IOAS_IOVA_RANGES)");
	}
	_Static_assert(sizeof(**ranges) == sizeof(*found), "the same two numbers");
	*ranges = (struct vfb_iova_range *)found;
	*count = query.num_iovas;
	*alignment = query.out_iova_alignment;
	*entries_left = UINT64_MAX;
	return 0;
}

static int iommufd_map(struct vfb_iommu *iommu, uint64_t iova, void *address, uint64_t bytes,
		       uint32_t flags)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = VFB_IOMMU_IOAS_MAP_FIXED_IOVA |
			 (flags & VFB_RANGE_READ ? VFB_IOMMU_IOAS_MAP_READABLE : 0) |
			 (flags & VFB_RANGE_WRITE ? VFB_IOMMU_IOAS_MAP_WRITEABLE : 0),
		.ioas_id = iommufd->ioas,
		.user_va = (uintptr_t)address,
		.length = bytes,
		.iova = iova,
	};
	int error;

	error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_MAP, &map);
	return error ? vfb_iommu_map_failed(iommu->sys, error, iova, bytes) : 0;
}

static int iommufd_unmap(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	struct vfb_iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = iommufd->ioas,
		.iova = iova,
		.length = bytes,
	};
	int error;

	error = iommu->sys->ioctl(iommu->sys, iommufd->fd, VFB_IOMMU_IOAS_UNMAP, &unmap);
	if (error)
		return vfb_fail_errno(error, "cannot unmap %s at IOVA 0x%" PRIx64,
				      vfb_size_text(bytes).text, iova);
	return 0;
}

const struct vfb_iommu_ops vfb_iommu_iommufd = {
	.name = "iommufd",
	.attach_call = "iommufd",
	.detach_call = "iommufd",
	.open_call = "VFIO_DEVICE_BIND_IOMMUFD",
	.map_call = "IOMMU_IOAS_MAP",
	.unmap_call = "IOMMU_IOAS_UNMAP",
	.backend = VFB_BACKEND_IOMMUFD,
	.parallel = true,
	/* mm->pinned_vm, of what is charged to the user: iopt_pages_update_pinned(). */
	.locked_key = "VmPin:",
	.create = iommufd_create,
	.destroy = iommufd_destroy,
	.attach = iommufd_attach,
	.detach = iommufd_detach,
	.open_device = iommufd_open_device,
	.describe = iommufd_describe,
	.map = iommufd_map,
	.unmap = iommufd_unmap,
};
