/* SPDX-License-Identifier: MIT */
#include "iommu/group.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>

#include "iommu/cause.h"
#include "observe/error.h"

struct vfb_group {
	struct vfb_group *next;
	int number;
	int fd;
	unsigned int devices;
};

void vfb_groups_init(struct vfb_groups *groups)
{
	groups->first = NULL;
	pthread_mutex_init(&groups->lock, NULL);
}

void vfb_groups_destroy(struct vfb_groups *groups)
{
	pthread_mutex_destroy(&groups->lock);
}

static struct vfb_group *groups_find(struct vfb_groups *groups, int number)
{
	struct vfb_group *group;

	pthread_mutex_lock(&groups->lock);
	for (group = groups->first; group; group = group->next)
		if (group->number == number)
			break;
	pthread_mutex_unlock(&groups->lock);
	return group;
}

int vfb_groups_fd(struct vfb_groups *groups, int number)
{
	const struct vfb_group *group = groups_find(groups, number);

	return group ? group->fd : -1;
}

static int open_group(struct vfb_iommu *iommu, const struct vfb_iommu_device *device,
		      int (*attach)(struct vfb_iommu *iommu, int fd,
				    const struct vfb_iommu_device *device))
{
	char path[32];
	int error, fd;

	snprintf(path, sizeof(path), "/dev/vfio/%d", device->group);
	fd = vfb_iommu_open_node(iommu->sys, path);
	/* The device is in sysfs: its node may come yet. */
	if (fd == -ENOTSUP)
		return vfb_fail(-ENOENT,
				"there is no %s, though device %s is bound to a driver of VFIO: if "
				"this is a container, pass the node to it (--device %s); otherwise "
				"the kernel lacks CONFIG_VFIO_GROUP, or udev is not running",
				path, device->address, path);
	if (fd == -EBUSY)
		return vfb_device_in_use(iommu->sys, device);
	if (fd < 0)
		return fd;
	error = attach(iommu, fd, device);
	if (!error)
		return fd;
	iommu->sys->close(iommu->sys, fd);
	return error;
}

int vfb_groups_hold(struct vfb_groups *groups, struct vfb_iommu *iommu,
		    const struct vfb_iommu_device *device,
		    int (*attach)(struct vfb_iommu *iommu, int fd,
				  const struct vfb_iommu_device *device))
{
	struct vfb_group *group = groups_find(groups, device->group);
	int error;

	if (group) {
		group->devices++;
		return 0;
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return vfb_fail_memory();
	group->number = device->group;
	group->devices = 1;
	group->fd = open_group(iommu, device, attach);
	if (group->fd < 0) {
		error = group->fd;
		free(group);
		return error;
	}
	pthread_mutex_lock(&groups->lock);
	group->next = groups->first;
	groups->first = group;
	pthread_mutex_unlock(&groups->lock);
	return 0;
}

void vfb_groups_release(struct vfb_groups *groups, const struct vfb_sys *sys, int number)
{
	struct vfb_group *group = groups_find(groups, number), **link;

	if (--group->devices)
		return;
	pthread_mutex_lock(&groups->lock);
	for (link = &groups->first; *link != group; link = &(*link)->next)
		;
	*link = group->next;
	pthread_mutex_unlock(&groups->lock);
	sys->close(sys, group->fd);
	free(group);
}

bool vfb_groups_leave(struct vfb_groups *groups, int number)
{
	const struct vfb_group *group;

	groups_find(groups, number)->devices--;
	for (group = groups->first; group; group = group->next)
		if (group->devices)
			return false;
	return true;
}

void vfb_groups_close(struct vfb_groups *groups, const struct vfb_sys *sys)
{
	struct vfb_group *group;

	while ((group = groups->first)) {
		pthread_mutex_lock(&groups->lock);
		groups->first = group->next;
		pthread_mutex_unlock(&groups->lock);
		sys->close(sys, group->fd);
		free(group);
	}
}

int vfb_group_check_viable(const struct vfb_sys *sys, int fd, const struct vfb_iommu_device *device)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int error = sys->ioctl(sys, fd, VFIO_GROUP_GET_STATUS, &status);

	if (error)
		return vfb_fail_errno(error, "cannot read the state of IOMMU group %d",
				      device->group);
	return status.flags & VFIO_GROUP_FLAGS_VIABLE ? 0 : vfb_group_not_viable(sys, device);
}

int vfb_group_reserves_iovas(const struct vfb_iommu_device *device)
{
	return vfb_fail(-EADDRINUSE,
			"device %s cannot use some of the mapped IOVAs (see "
			"/sys/kernel/iommu_groups/%d/reserved_regions): open it before mapping, "
			"or map at other IOVAs",
			device->address, device->group);
}
