/* SPDX-License-Identifier: MIT */
/* Devices of iommufd, opened by their nodes or through their groups. */
#include <errno.h>
#include <stdio.h>

#include "iommu/cause.h"
#include "iommu/container.h"
#include "iommu/iommufd.h"
#include "observe/error.h"
#include "sys/uapi.h"

static void node_path(char path[64], const struct vfb_iommu_device *device)
{
	snprintf(path, 64, "/dev/vfio/devices/%s", device->node);
}

/* Whether the device can be opened by its node: 0; -ENOTSUP if it has none; -EACCES, ... */
static int try_node(const struct vfb_sys *sys, const struct vfb_iommu_device *device)
{
	char path[64];
	int fd;

	if (!device->node[0])
		return -ENOTSUP;
	node_path(path, device);
	fd = vfb_iommu_open_node(sys, path);
	if (fd < 0)
		return fd;
	sys->close(sys, fd);
	return 0;
}

static int iommufd_attach_group(struct vfb_iommu *iommu, int fd,
				const struct vfb_iommu_device *device)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	int error;

	error = vfb_group_check_viable(iommu->sys, fd, device);
	if (!error)
		error = vfb_container_set_ioas(iommu->sys, iommufd->fd, iommufd->ioas);
	if (error)
		return error;
	error = iommu->sys->ioctl(iommu->sys, fd, VFIO_GROUP_SET_CONTAINER, &iommufd->fd);
	if (error)
		return vfb_fail_errno(error,
				      "cannot make the iommufd the container of IOMMU group %d of "
				      "device %s (VFIO_GROUP_SET_CONTAINER)",
				      device->group, device->address);
	return 0;
}

/* Attaches a device through its group. @no_node: why it is not opened by its node. */
static int attach_by_group(struct iommufd *iommufd, const struct vfb_iommu_device *device,
			   int no_node)
{
	char text[VFB_ERROR_BYTES];
	int error;

	/* The kernel chooses the domain: vfio_iommufd_compat_attach_ioas(). */
	if (iommufd->keep_domain)
		return vfb_fail(no_node,
				"%s requires that devices are opened by their "
				"nodes, but %s /dev/vfio/devices/%s of device %s: use Linux 6.6 or "
				"later with CONFIG_VFIO_DEVICE_CDEV",
				iommufd->dirty	? "VFB_SPACE_DIRTY" :
				iommufd->faults ? "VFB_ON_DEMAND_FAULT" :
						  "VFB_SPACE_KEEP_DOMAIN",
				no_node == -EACCES ? "there is no permission to open" :
						     "there is no",
				device->node, device->address);
	error = vfb_groups_hold(&iommufd->groups, &iommufd->iommu, device, iommufd_attach_group);
	if (error == -EACCES && no_node == -EACCES) {
		vfb_error_save(text);
		return vfb_fail(error, "no permission to open /dev/vfio/devices/%s, and %s",
				device->node, text);
	}
	return error;
}

int vfb_iommufd_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	int error = iommufd->faults ? vfb_iommufd_expect_faults(iommufd, device) : 0;

	if (error)
		return error;
	/* While a group is open, none of its devices can be opened by its node. */
	error = vfb_groups_fd(&iommufd->groups, device->group) >= 0 ? -ENOTSUP :
								      try_node(iommu->sys, device);
	if (error == -ENOTSUP || error == -EACCES)
		return attach_by_group(iommufd, device, error);
	return error;
}

void vfb_iommufd_detach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);

	/* A device that was opened by its node was detached when it was closed. */
	if (vfb_groups_fd(&iommufd->groups, device->group) >= 0)
		vfb_groups_release(&iommufd->groups, iommu->sys, device->group);
}

/* *@domain is what it is attached to then: the kernel chooses one for an IOAS. */
static int attach_to(struct iommufd *iommufd, int fd, uint32_t id, uint32_t *domain)
{
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = id};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = sys->ioctl(sys, fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);

	*domain = attach.pt_id;
	return error;
}

/* Adds a domain for a device to the list: readers find it when it is tracked as the others are. */
static int add_domain(struct iommufd *iommufd, uint32_t device_id, uint32_t *domain)
{
	struct vfb_iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = (iommufd->dirty ? VFB_IOMMU_HWPT_ALLOC_DIRTY_TRACKING : 0) |
			 (iommufd->faults ? VFB_IOMMU_HWPT_FAULT_ID_VALID : 0),
		.dev_id = device_id,
		.pt_id = iommufd->ioas,
		.fault_id = iommufd->fault_id,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = sys->ioctl(sys, iommufd->fd, VFB_IOMMU_HWPT_ALLOC, &alloc);

	if (error)
		return error;
	if (iommufd->is_tracking)
		error = vfb_iommufd_track_domain(iommufd, alloc.out_hwpt_id, true);
	if (error) {
		vfb_iommufd_destroy_object(iommufd, alloc.out_hwpt_id);
		return error;
	}
	*domain = alloc.out_hwpt_id;
	iommufd->domains[iommufd->domain_count] = alloc.out_hwpt_id;
	iommufd->domain_count++;
	iommufd->iommu.has_domain = true;
	return 0;
}

/* Attaches a device to a suitable domain of the list, or to a new one. */
static int attach_domain(struct iommufd *iommufd, int fd, struct vfb_iommu_opened *opened)
{
	uint32_t domain = 0;
	int error = -EINVAL;

	vfb_sleep_lock_take(&iommufd->domains_lock);
	/* EINVAL: the device is behind another IOMMU than the domain. */
	for (size_t i = 0; i < iommufd->domain_count && error == -EINVAL; i++)
		error = attach_to(iommufd, fd, iommufd->domains[i], &opened->domain);
	if (error == -EINVAL && iommufd->domain_count < MAX_DOMAINS) {
		error = add_domain(iommufd, opened->device_id, &domain);
		if (!error)
			error = attach_to(iommufd, fd, domain, &opened->domain);
	}
	vfb_sleep_lock_release(&iommufd->domains_lock);
	return error;
}

static int attach_ioas(struct iommufd *iommufd, int fd, const struct vfb_iommu_device *device,
		       struct vfb_iommu_opened *opened)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = iommufd->keep_domain ? attach_domain(iommufd, fd, opened) :
					   attach_to(iommufd, fd, iommufd->ioas, &opened->domain);

	if (error == -EADDRINUSE)
		return vfb_group_reserves_iovas(device);
	if (!error && iommufd->faults)
		return vfb_iommufd_check_faults(iommufd, fd, device);
	/* iommufd_hwpt_paging_alloc(), iommufd_fault_iopf_enable(), and drivers of IOMMUs. */
	if ((error == -EOPNOTSUPP || error == -ENODEV || error == -EINVAL) && iommufd->faults)
		return vfb_iommufd_no_faults(device);
	/* iommufd_hwpt_paging_alloc(), and drivers of IOMMUs. */
	if (error == -EOPNOTSUPP && iommufd->dirty)
		return vfb_fail(-ENOTSUP,
				"the IOMMU of device %s, or its driver, cannot track what devices "
				"write to (VFB_SPACE_DIRTY)",
				device->address);
	if (error)
		return vfb_attach_failed(
			sys, error, device,
			&(struct vfb_attempt){.call = "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
					      .module = "iommufd",
					      .is_open = true});
	return 0;
}

/* Reports why the kernel does not bind a device. @is_open: its group is open in this process. */
static int bind_failed(const struct vfb_sys *sys, int error, const struct vfb_iommu_device *device,
		       const char *call, bool is_open)
{
	const struct vfb_attempt attempt = {call, "iommufd", is_open};

	switch (error) {
	/* iommufd_device_bind(); opened through its group; vfio_df_open(): bound already. */
	case -EPERM:
	case -EBUSY:
	case -EINVAL:
		return vfb_attach_failed(sys, error, device, &attempt);
	}
	return vfb_iommu_open_failed(sys, error, device, call);
}

static void drop_node(struct iommufd *iommufd, const struct vfb_iommu_device *device, int fd)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;

	vfb_iommu_remove_file(&iommufd->iommu, device->address, fd);
	sys->close(sys, fd);
}

/* Binds an open device and attaches it, or closes it. */
static int bind_node(struct iommufd *iommufd, int fd, const struct vfb_iommu_device *device,
		     struct vfb_iommu_opened *opened)
{
	struct vfb_vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd->fd,
	};
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int error = sys->ioctl(sys, fd, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind);

	if (error) {
		/* Closed first, since the cause may be that the device is open. */
		drop_node(iommufd, device, fd);
		return bind_failed(sys, error, device, "VFIO_DEVICE_BIND_IOMMUFD", false);
	}
	opened->device_id = bind.out_devid;
	error = attach_ioas(iommufd, fd, device, opened);
	if (error)
		drop_node(iommufd, device, fd);
	return error;
}

static int open_by_node(struct iommufd *iommufd, const struct vfb_iommu_device *device,
			struct vfb_iommu_opened *opened)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;
	char path[64];
	int fd, error;

	node_path(path, device);
	fd = vfb_iommu_open_node(sys, path);
	if (fd < 0)
		return fd;
	error = vfb_iommu_add_file(&iommufd->iommu, device->address, fd, opened);
	if (error) {
		sys->close(sys, fd);
		return error;
	}
	error = bind_node(iommufd, fd, device, opened);
	return error ? error : fd;
}

/* The kernel binds it to the iommufd and attaches it to the IOAS: vfio_df_group_open(). */
static int open_by_group(struct iommufd *iommufd, int group, const struct vfb_iommu_device *device,
			 struct vfb_iommu_opened *opened)
{
	const struct vfb_sys *sys = iommufd->iommu.sys;
	int fd = vfb_iommu_add_file(&iommufd->iommu, device->address, group, opened);

	if (fd)
		return fd;
	fd = sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, (void *)device->address);
	if (fd >= 0)
		return fd;
	vfb_iommu_remove_file(&iommufd->iommu, device->address, group);
	if (fd == -EADDRINUSE)
		return vfb_group_reserves_iovas(device);
	return bind_failed(sys, fd, device, "VFIO_GROUP_GET_DEVICE_FD", true);
}

int vfb_iommufd_open_device(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
			    struct vfb_iommu_opened *opened)
{
	struct iommufd *iommufd = container_of(iommu, struct iommufd, iommu);
	int group = vfb_groups_fd(&iommufd->groups, device->group);

	if (group < 0)
		return open_by_node(iommufd, device, opened);
	opened->call = "VFIO_GROUP_GET_DEVICE_FD";
	return open_by_group(iommufd, group, device, opened);
}

int vfb_iommufd_group_fd(struct vfb_iommu *iommu, int group)
{
	return vfb_groups_fd(&container_of(iommu, struct iommufd, iommu)->groups, group);
}
