/* SPDX-License-Identifier: MIT */
/* iommufd: objects, binding and attaching devices (drivers/iommu/iommufd/main.c, device.c). */
#include "model.h"
#include "sys/uapi.h"

struct ioas *fk_ioas_find(const struct iommufd *iommufd, unsigned int id)
{
	struct ioas *ioas = iommufd->ioases;

	while (ioas && ioas->id != id)
		ioas = ioas->next;
	return ioas;
}

static bool id_used(const struct iommufd *iommufd, unsigned int id)
{
	for (const struct ioas *ioas = iommufd->ioases; ioas; ioas = ioas->next)
		if (ioas->id == id || (ioas->has_domain && ioas->hwpt_id == id) ||
		    ioas->other.id == id)
			return true;
	if (fk_faults_find(iommufd, id))
		return true;
	for (unsigned int i = 0; i < iommufd->bound_count; i++)
		if (iommufd->bound[i]->object_id == id)
			return true;
	return false;
}

unsigned int fk_iommufd_new_id(const struct iommufd *iommufd)
{
	unsigned int id = 1;

	while (id_used(iommufd, id))
		id++;
	return id;
}

/* ---- Devices ---- */

int fk_iommufd_bind(struct fake *fake, struct iommufd *iommufd, struct device *device, uint32_t *id)
{
	struct group *group = device->group;

	/* iommu_device_claim_dma_owner() */
	if (group->owner ? group->owner != iommufd : fk_group_claimed(fake, group))
		return -EPERM;
	if (fk_group_needs_direct(fake, group))
		return -EINVAL;
	if (iommufd->bound_count == ARRAY_SIZE(iommufd->bound))
		abort();
	group->owner = iommufd;
	group->owner_count++;
	device->iommufd = iommufd;
	device->object_id = fk_iommufd_new_id(iommufd);
	iommufd->bound[iommufd->bound_count++] = device;
	*id = device->object_id;
	return 0;
}

void fk_iommufd_unbind(struct fake *fake, struct device *device)
{
	struct iommufd *iommufd = device->iommufd;
	unsigned int i = 0;

	if (device->ioas)
		fk_iommufd_detach(fake, device);
	while (iommufd->bound[i] != device)
		i++;
	iommufd->bound[i] = iommufd->bound[--iommufd->bound_count];
	device->iommufd = NULL;
	if (--device->group->owner_count == 0)
		device->group->owner = NULL;
}

/* iopt_table_enforce_dev_resv_regions() */
static int reserve(struct fake *fake, const struct ioas *ioas, const struct device *device)
{
	struct range reserved[2];
	size_t count = fk_device_reserved(fake, device, reserved);

	for (size_t i = 0; i < count; i++)
		if (fk_space_find(&ioas->space, reserved[i].first, reserved[i].last))
			return -EADDRINUSE;
	return 0;
}

static void link_device(struct ioas *ioas, struct device *device)
{
	device->ioas = ioas;
	device->ioas_next = ioas->devices;
	ioas->devices = device;
	device->group->ioas = ioas;
	device->group->attached++;
	device->stats.attached = 1;
}

static void unlink_device(struct device *device)
{
	struct device **at = &device->ioas->devices;

	while (*at != device)
		at = &(*at)->ioas_next;
	*at = device->ioas_next;
	device->ioas = NULL;
	if (--device->group->attached == 0)
		device->group->ioas = NULL;
	device->stats.attached = 0;
}

/* iommufd_device_auto_get_domain(); every device here is content with the same domain. */
static int attach_ioas(struct fake *fake, struct device *device, struct ioas *ioas)
{
	int error;

	fk_vlock_write(fake, &ioas->mutex);
	/* All devices of a group use one domain. */
	error = device->group->ioas && device->group->ioas != ioas ? -EINVAL : 0;
	if (!error)
		error = reserve(fake, ioas, device);
	if (!error) {
		link_device(ioas, device);
		if (!ioas->has_domain)
			error = fk_ioas_add_domain(fake, ioas);
		if (error)
			unlink_device(device);
	}
	fk_vunlock_write(&ioas->mutex);
	return error;
}

int fk_iommufd_attach(struct fake *fake, struct device *device, uint32_t *id)
{
	struct ioas *ioas = fk_ioas_find(device->iommufd, *id);
	int error;

	for (struct ioas *i = device->iommufd->ioases; i && !ioas; i = i->next)
		if (i->keeps_domain && *id && (i->hwpt_id == *id || i->other.id == *id))
			ioas = i;
	if (!ioas)
		return id_used(device->iommufd, *id) ? -EINVAL : -ENOENT;
	if (device->ioas == ioas) {
		*id = ioas->hwpt_id;
		return 0;
	}
	/* iommufd_device_replace() is only modelled for the same IOAS. */
	if (device->ioas)
		return -EINVAL;
	ioas->users++;
	error = attach_ioas(fake, device, ioas);
	ioas->users--;
	if (!error)
		*id = ioas->hwpt_id;
	if (!error && !fake->config.no_scalable)
		fk_region_enable_requests(device);
	return error;
}

void fk_iommufd_detach(struct fake *fake, struct device *device)
{
	struct ioas *ioas = device->ioas;

	if (!ioas)
		return;
	fk_vlock_write(fake, &ioas->mutex);
	fk_faults_detach(fake, device);
	unlink_device(device);
	/* The automatic domain dies with its last device. */
	if (!ioas->devices && !ioas->keeps_domain)
		fk_ioas_remove_domain(fake, ioas);
	fk_vunlock_write(&ioas->mutex);
}

/* ---- Objects ---- */

static struct ioas *make_ioas(struct fake *fake, struct iommufd *iommufd)
{
	struct ioas *ioas = fk_xalloc(sizeof(*ioas));

	ioas->id = fk_iommufd_new_id(iommufd);
	ioas->iommufd = iommufd;
	ioas->mutex.name = "ioas->mutex";
	ioas->domains.name = "domains_rwsem";
	fk_space_init(fake, &ioas->space);
	ioas->next = iommufd->ioases;
	iommufd->ioases = ioas;
	return ioas;
}

static int ioas_alloc(struct fake *fake, struct iommufd *iommufd, struct vfb_iommu_ioas_alloc *cmd)
{
	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->flags)
		return -EOPNOTSUPP;
	cmd->out_ioas_id = make_ioas(fake, iommufd)->id;
	return 0;
}

/* ---- As a container: vfio_compat.c ---- */

void fk_iommufd_make_compat(struct fake *fake, struct iommufd *iommufd)
{
	if (!iommufd->compat)
		iommufd->compat = make_ioas(fake, iommufd);
}

/* iommufd_vfio_ioas() */
static int vfio_ioas(struct iommufd *iommufd, struct vfb_iommu_vfio_ioas *cmd)
{
	struct ioas *ioas;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->reserved)
		return -EOPNOTSUPP;
	switch (cmd->op) {
	case VFB_IOMMU_VFIO_IOAS_GET:
		if (!iommufd->compat)
			return -ENODEV;
		cmd->ioas_id = iommufd->compat->id;
		return 0;
	case VFB_IOMMU_VFIO_IOAS_SET:
		ioas = fk_ioas_find(iommufd, cmd->ioas_id);
		if (!ioas)
			return -ENOENT;
		iommufd->compat = ioas;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- More objects ---- */

/* iommufd_hwpt_alloc(): a domain for a bound device, of which an IOAS has at most two here. */
static int hwpt_alloc(struct fake *fake, struct iommufd *iommufd, struct vfb_iommu_hwpt_alloc *cmd)
{
	struct ioas *ioas = fk_ioas_find(iommufd, cmd->pt_id);
	bool tracks = cmd->flags & VFB_IOMMU_HWPT_ALLOC_DIRTY_TRACKING, bound = false;
	struct fault_queue *queue = NULL;
	int error;

	if (cmd->flags & ~(VFB_IOMMU_HWPT_ALLOC_DIRTY_TRACKING | VFB_IOMMU_HWPT_FAULT_ID_VALID) ||
	    cmd->reserved)
		return -EOPNOTSUPP;
	/* The driver's domain_alloc_paging_flags() */
	if (tracks && fake->config.no_dirty)
		return -EOPNOTSUPP;
	if (cmd->flags & VFB_IOMMU_HWPT_FAULT_ID_VALID) {
		queue = fk_faults_find(iommufd, cmd->fault_id);
		if (!queue)
			return -ENOENT;
	}
	for (unsigned int i = 0; i < iommufd->bound_count; i++)
		bound |= iommufd->bound[i]->object_id == cmd->dev_id;
	if (!ioas || !bound)
		return -ENOENT;
	if (ioas->keeps_domain && !ioas->other.id) {
		ioas->other.id = cmd->out_hwpt_id = fk_iommufd_new_id(iommufd);
		ioas->other.can_track = tracks;
		return 0;
	}
	if (ioas->has_domain)
		return -EINVAL;
	error = fk_ioas_add_domain(fake, ioas);
	if (error)
		return error;
	ioas->keeps_domain = true;
	ioas->can_track = tracks;
	ioas->queue = queue;
	cmd->out_hwpt_id = ioas->hwpt_id;
	return 0;
}

static int destroy_hwpt(struct fake *fake, struct ioas *ioas)
{
	if (ioas->devices)
		return -EBUSY;
	fk_ioas_remove_domain(fake, ioas);
	ioas->keeps_domain = false;
	ioas->queue = NULL;
	ioas->space.tracks_dirty = false;
	return 0;
}

/* iommufd_ioas_change_process(): memory of a file has no process of its own. */
static int change_process(const struct iommufd *iommufd)
{
	for (const struct ioas *ioas = iommufd->ioases; ioas; ioas = ioas->next)
		for (size_t i = 0; i < ioas->space.count; i++)
			if (!ioas->space.dmas[i]->object)
				return -EINVAL;
	return 0;
}

static int destroy(struct fake *fake, struct iommufd *iommufd, const struct vfb_iommu_destroy *cmd)
{
	struct ioas *ioas;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	for (ioas = iommufd->ioases; ioas; ioas = ioas->next) {
		if (ioas->keeps_domain && ioas->hwpt_id == cmd->id)
			return destroy_hwpt(fake, ioas);
		if (cmd->id && ioas->other.id == cmd->id) {
			ioas->other = (struct other_hwpt){0};
			return 0;
		}
	}
	if (fk_faults_find(iommufd, cmd->id))
		return fk_faults_destroy(fake, iommufd, cmd->id);
	ioas = fk_ioas_find(iommufd, cmd->id);
	/* Devices, and domains in use, cannot be destroyed from outside. */
	if (!ioas)
		return id_used(iommufd, cmd->id) ? -EBUSY : -ENOENT;
	if (ioas->has_domain || ioas->devices || ioas->users)
		return -EBUSY;
	fk_ioas_free(fake, ioas);
	return 0;
}

/* The file is gone, and with it every device that was bound to it. */
void fk_iommufd_release(struct fake *fake, struct iommufd *iommufd)
{
	struct iommufd **at = &fake->iommufds;

	while (iommufd->ioases)
		fk_ioas_free(fake, iommufd->ioases);
	fk_faults_release(fake, iommufd);
	while (*at != iommufd)
		at = &(*at)->next;
	*at = iommufd->next;
	free(iommufd);
}

int fk_iommufd_ioctl(struct fake *fake, struct iommufd *iommufd, unsigned long request, void *arg)
{
	/* iommufd_vfio_ioctl(): it can stand for a container. */
	if (request == VFIO_GET_API_VERSION)
		return VFIO_API_VERSION;
	if (!arg)
		return -EFAULT;
	switch (request) {
	case VFB_IOMMU_IOAS_ALLOC:
		return ioas_alloc(fake, iommufd, arg);
	case VFB_IOMMU_DESTROY:
		return destroy(fake, iommufd, arg);
	case VFB_IOMMU_IOAS_IOVA_RANGES:
		return fk_ioas_iova_ranges(fake, iommufd, arg);
	case VFB_IOMMU_IOAS_MAP:
		return fk_ioas_map(fake, iommufd, arg);
	case VFB_IOMMU_IOAS_MAP_FILE:
		return fake->config.no_map_file ? -ENOTTY : fk_ioas_map_file(fake, iommufd, arg);
	case VFB_IOMMU_IOAS_CHANGE_PROCESS:
		return fake->config.no_map_file ? -ENOTTY : change_process(iommufd);
	case VFB_IOMMU_HWPT_ALLOC:
		return hwpt_alloc(fake, iommufd, arg);
	case VFB_IOMMU_FAULT_QUEUE_ALLOC:
		return fake->config.no_faults ? -ENOTTY : fk_faults_alloc(fake, iommufd, arg);
	case VFB_IOMMU_HWPT_SET_DIRTY_TRACKING:
		return fk_ioas_set_dirty_tracking(fake, iommufd, arg);
	case VFB_IOMMU_HWPT_GET_DIRTY_BITMAP:
		return fk_ioas_get_dirty_bitmap(fake, iommufd, arg);
	case VFB_IOMMU_VFIO_IOAS:
		return vfio_ioas(iommufd, arg);
	case VFB_IOMMU_IOAS_UNMAP:
		return fk_ioas_unmap(fake, iommufd, arg);
	default:
		return -ENOTTY;
	}
}
