/* SPDX-License-Identifier: MIT */
#include "iommu/legacy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>

#include "container_of.h"
#include "observe/error.h"

static struct vfb_legacy *legacy_of(struct vfb_iommu *iommu)
{
	return container_of(iommu, struct vfb_legacy, iommu);
}

bool vfb_legacy_has_extension(const struct vfb_sys *sys, int fd, unsigned long extension)
{
	return sys->ioctl(sys, fd, VFIO_CHECK_EXTENSION, (void *)extension) > 0;
}

bool vfb_legacy_is_spapr(const struct vfb_sys *sys, int fd)
{
	return !vfb_legacy_has_extension(sys, fd, VFIO_TYPE1v2_IOMMU) &&
	       vfb_legacy_has_extension(sys, fd, VFIO_SPAPR_TCE_v2_IOMMU);
}

bool vfb_legacy_host_is_spapr(const struct vfb_sys *sys)
{
	bool is_spapr;
	int fd;

	if (!sys->is_power(sys))
		return false;
	fd = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	is_spapr = fd >= 0 && vfb_legacy_is_spapr(sys, fd);
	if (fd >= 0)
		sys->close(sys, fd);
	return is_spapr;
}

static int check_version(const struct vfb_legacy *legacy)
{
	const struct vfb_sys *sys = legacy->iommu.sys;
	int version = sys->ioctl(sys, legacy->fd, VFIO_GET_API_VERSION, NULL);

	if (version == VFIO_API_VERSION)
		return 0;
	return vfb_fail(-ENOTSUP,
			"VFIO of this kernel has API version %d, but the library needs %d", version,
			VFIO_API_VERSION);
}

int vfb_legacy_open(struct vfb_legacy *legacy, const struct vfb_iommu_ops *ops,
		    const struct vfb_sys *sys, const struct vfb_iommu_source *source)
{
	int error;

	legacy->iommu.ops = ops;
	legacy->iommu.sys = sys;
	legacy->iommu.adopted = source->fd >= 0;
	legacy->fd = source->fd >= 0 ? source->fd : vfb_iommu_open_node(sys, "/dev/vfio/vfio");
	if (legacy->fd < 0)
		return legacy->fd;
	vfb_groups_init(&legacy->groups);
	error = check_version(legacy);
	if (error)
		vfb_legacy_close(legacy);
	return error;
}

void vfb_legacy_close(struct vfb_legacy *legacy)
{
	if (!legacy->iommu.adopted)
		legacy->iommu.sys->close(legacy->iommu.sys, legacy->fd);
	vfb_groups_destroy(&legacy->groups);
}

bool vfb_legacy_has_iommu(const struct vfb_legacy *legacy)
{
	return legacy->groups.first || legacy->iommu.has_domain;
}

int vfb_legacy_add_group(struct vfb_legacy *legacy, int group, unsigned long type,
			 const char **call)
{
	bool has_iommu = vfb_legacy_has_iommu(legacy);
	const struct vfb_sys *sys = legacy->iommu.sys;
	int error;

	*call = "VFIO_GROUP_SET_CONTAINER";
	error = sys->ioctl(sys, group, VFIO_GROUP_SET_CONTAINER, &legacy->fd);
	if (error || has_iommu)
		return error;
	*call = "VFIO_SET_IOMMU";
	return sys->ioctl(sys, legacy->fd, VFIO_SET_IOMMU, (void *)type);
}

void vfb_legacy_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	vfb_groups_release(&legacy_of(iommu)->groups, iommu->sys, device->group);
}

int vfb_legacy_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			   struct vfb_iommu_opened *opened)
{
	int group = vfb_groups_fd(&legacy_of(iommu)->groups, device->group), fd;

	fd = vfb_iommu_add_file(iommu, device->address, group, opened);
	if (fd)
		return fd;
	fd = iommu->sys->ioctl(iommu->sys, group, VFIO_GROUP_GET_DEVICE_FD,
			       (void *)device->address);
	if (fd >= 0)
		return fd;
	vfb_iommu_remove_file(iommu, device->address, group);
	return vfb_iommu_open_failed(iommu->sys, fd, device, "VFIO_GROUP_GET_DEVICE_FD");
}

int vfb_legacy_group_fd(struct vfb_iommu *iommu, int group)
{
	return vfb_groups_fd(&legacy_of(iommu)->groups, group);
}

int vfb_legacy_file(const struct vfb_iommu *iommu, uint32_t *ioas)
{
	*ioas = 0;
	return container_of(iommu, const struct vfb_legacy, iommu)->fd;
}
