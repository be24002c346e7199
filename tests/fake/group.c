/* SPDX-License-Identifier: MIT */
/* Containers and groups: drivers/vfio/container.c and group.c. */
#include <linux/vfio.h>

#include "model.h"

struct group *fk_group_find(struct fake *fake, unsigned int number)
{
	struct group *group = fake->groups;

	while (group && group->number != number)
		group = group->next;
	return group;
}

bool fk_group_has_vfio(struct fake *fake, const struct group *group)
{
	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && fk_device_is_vfio(d))
			return true;
	return false;
}

static bool group_busy(struct fake *fake, const struct group *group)
{
	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && d->config.busy != FAKE_FREE)
			return true;
	return false;
}

bool fk_group_opened_elsewhere(struct fake *fake, const struct group *group)
{
	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && d->config.busy == FAKE_BUSY_GROUP)
			return true;
	return false;
}

/* iommu_group_dma_owner_claimed(): by a host driver, another process, or ourselves. */
bool fk_group_claimed(struct fake *fake, const struct group *group)
{
	if (group->container || group->owner || group_busy(fake, group))
		return true;
	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && d->driver[0] && !fk_device_is_vfio(d) &&
		    strcmp(d->driver, "pci-stub") && strcmp(d->driver, "pcieport"))
			return true;
	return false;
}

/* __iommu_device_set_domain(): the firmware has to reach its memory all the time. */
bool fk_group_needs_direct(struct fake *fake, const struct group *group)
{
	for (struct device *d = fake->devices; d; d = d->next)
		if (d->group == group && d->config.reserved_last && d->config.reserved_kind &&
		    !strcmp(d->config.reserved_kind, "direct"))
			return true;
	return false;
}

int fk_group_open(struct fake *fake, struct group *group, int *fd)
{
	char path[40];
	int error = 0;

	fk_vlock_write(fake, &group->lock);
	if (group->cdev_opens || group->opened || group_busy(fake, group))
		error = -EBUSY;
	if (!error) {
		snprintf(path, sizeof(path), "/dev/vfio/%u", group->number);
		*fd = fk_file_new(fake, FILE_GROUP, path, group, &group->opened);
		error = *fd < 0 ? *fd : 0;
	}
	fk_vunlock_write(&group->lock);
	return error;
}

/* vfio_group_detach_container(), with the group's lock held. */
static void detach(struct fake *fake, struct group *group)
{
	struct container *container = group->container;
	struct group **at = &container->groups;

	while (*at != group)
		at = &(*at)->container_next;
	*at = group->container_next;
	group->container = NULL;
	group->container_users = 0;
	/* The last group takes the IOMMU with it, and all that is mapped. */
	if (container->is_spapr)
		fk_spapr_detach(fake, container, !container->groups);
	if (container->has_iommu && !container->groups) {
		fk_vlock_write(fake, &container->iommu_lock);
		if (!container->is_spapr)
			fk_type1_unmap_all(fake, container);
		fk_vunlock_write(&container->iommu_lock);
		fk_space_fini(fake, &container->space);
		container->has_iommu = container->is_spapr = false;
	}
	fk_container_put(container);
}

static void drop_iommufd(struct fake *fake, struct group *group)
{
	if (group->iommufd_file)
		fk_file_put(fake, group->iommufd_file);
	group->iommufd_file = NULL;
}

/* Device files hold the group's file: no device is open any more. */
void fk_group_release(struct fake *fake, struct group *group)
{
	fk_vlock_write(fake, &group->lock);
	if (group->container)
		detach(fake, group);
	drop_iommufd(fake, group);
	group->opened = NULL;
	fk_vunlock_write(&group->lock);
}

void fk_container_put(struct container *container)
{
	if (--container->refs == 0)
		free(container);
}

/* ---- ioctls of a group ---- */

static int get_status(struct fake *fake, struct group *group, struct vfio_group_status *status)
{
	if (!status)
		return -EFAULT;
	if (status->argsz < sizeof(*status))
		return -EINVAL;
	fk_vlock_write(fake, &group->lock);
	status->flags = 0;
	if (group->container || group->iommufd_file)
		status->flags = VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE;
	else if (!fk_group_claimed(fake, group))
		status->flags = VFIO_GROUP_FLAGS_VIABLE;
	fk_vunlock_write(&group->lock);
	return 0;
}

static int attach(struct fake *fake, struct group *group, struct container *container)
{
	int error;

	/* iommu_group_claim_dma_owner() */
	if (fk_group_claimed(fake, group))
		return -EPERM;
	if (fk_group_needs_direct(fake, group))
		return -EINVAL;
	if (container->has_iommu) {
		error = container->is_spapr ? fk_spapr_attach(fake, container) :
					      fk_type1_attach(fake, container, group);
		if (error)
			return error;
	}
	group->container = container;
	group->container_users = 1;
	group->container_next = container->groups;
	container->groups = group;
	container->refs++;
	return 0;
}

/* Nothing is claimed before a device is opened. */
static void hold_iommufd(struct fake *fake, struct group *group, struct file *file)
{
	fk_iommufd_make_compat(fake, file->iommufd);
	file->refs++;
	group->iommufd_file = file;
}

static int set_container(struct fake *fake, struct group *group, const int *fd)
{
	struct file *file;
	int error = 0;

	if (!fd)
		return -EFAULT;
	file = fk_file_get(fake, *fd);
	if (!file)
		return -EBADF;
	fk_vlock_write(fake, &group->lock);
	if (group->container || group->iommufd_file)
		error = -EINVAL;
	else if (file->kind == FILE_IOMMUFD)
		hold_iommufd(fake, group, file);
	else if (file->kind != FILE_CONTAINER)
		error = -EBADFD;
	else
		error = attach(fake, group, file->container);
	fk_vunlock_write(&group->lock);
	fk_file_put(fake, file);
	return error;
}

static int unset_container(struct fake *fake, struct group *group)
{
	int error = 0;

	fk_vlock_write(fake, &group->lock);
	if (group->iommufd_file)
		drop_iommufd(fake, group);
	else if (!group->container)
		error = -EINVAL;
	else if (group->container_users != 1)
		error = -EBUSY;
	else
		detach(fake, group);
	fk_vunlock_write(&group->lock);
	return error;
}

int fk_group_ioctl(struct fake *fake, struct file *file, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		return get_status(fake, file->group, arg);
	case VFIO_GROUP_SET_CONTAINER:
		return set_container(fake, file->group, arg);
	case VFIO_GROUP_UNSET_CONTAINER:
		return unset_container(fake, file->group);
	case VFIO_GROUP_GET_DEVICE_FD:
		return arg ? fk_device_open_by_group(fake, file, arg) : -EFAULT;
	default:
		return -ENOTTY;
	}
}

/* ---- ioctls of a container ---- */

static int check_extension(const struct fake_config *config, unsigned long extension)
{
	if (config->spapr)
		return extension == VFIO_SPAPR_TCE_IOMMU ||
		       (extension == VFIO_SPAPR_TCE_v2_IOMMU && !config->spapr_v1);
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	default:
		return 0;
	}
}

/* Only v2 of either is modelled; v1 is refused, though a real kernel would have it. */
static int set_iommu(struct fake *fake, struct container *container, unsigned long type)
{
	if (!container->groups || container->has_iommu)
		return -EINVAL;
	if (type != (fake->config.spapr ? VFIO_SPAPR_TCE_v2_IOMMU : VFIO_TYPE1v2_IOMMU))
		return -ENODEV;
	if (fake->config.spapr && fake->config.spapr_no_windows)
		return -EINVAL;
	fk_space_init(fake, &container->space);
	container->dma_avail = fake->config.dma_entry_limit;
	container->has_iommu = true;
	container->is_spapr = container->default_pending = fake->config.spapr;
	return 0;
}

int fk_container_ioctl(struct fake *fake, struct container *container, unsigned long request,
		       void *arg)
{
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(&fake->config, (uintptr_t)arg);
	case VFIO_SET_IOMMU:
		return set_iommu(fake, container, (uintptr_t)arg);
	default:
		if (container->is_spapr)
			return fk_spapr_ioctl(fake, container, request, arg);
		return container->has_iommu ? fk_type1_ioctl(fake, container, request, arg) :
					      -EINVAL;
	}
}
