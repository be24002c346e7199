/* SPDX-License-Identifier: MIT */
/*
 * VFIO PCI devices: opening, closing and their resets (drivers/vfio/vfio_main.c, group.c,
 * device_cdev.c, pci/vfio_pci_core.c).
 */
#include <linux/vfio.h>

#include "model.h"
#include "sys/uapi.h"

struct device *fk_device_find(struct fake *fake, const char *address)
{
	struct device *device = fake->devices;

	while (device && strcmp(device->address, address))
		device = device->next;
	return device;
}

bool fk_device_is_vfio(const struct device *device)
{
	return device->group && strstr(device->driver, "vfio");
}

size_t fk_device_reserved(struct fake *fake, const struct device *device, struct range out[2])
{
	size_t count = 0;

	if (!fake->config.no_msi_window)
		out[count++] = (struct range){0xfee00000, 0xfeefffff};
	if (device->config.reserved_last &&
	    (!device->config.reserved_kind ||
	     strcmp(device->config.reserved_kind, "direct-relaxable")))
		out[count++] = (struct range){device->config.reserved_first,
					      device->config.reserved_last};
	return count;
}

/* ---- Resets ---- */

static void reset(struct fake *fake, struct device *device)
{
	COUNT_UP(fake, resets_in_flight, max_resets_at_once);
	fk_dma_buf_move(fake, device, true);
	fk_clock_spend(fake, device->config.reset_ns);
	fake->resets_in_flight--;
	fk_region_reset(device);
	fk_dma_buf_move(fake, device, false);
	device->stats.resets++;
	fake->stats.resets++;
}

static bool has_reset_method(const struct device *device)
{
	return !device->config.no_reset && device->reset_method[0];
}

/* vfio_pci_core_enable() */
static void enable(struct fake *fake, struct device *device)
{
	device->reset_works = has_reset_method(device);
	if (!device->reset_works)
		return;
	reset(fake, device);
	device->stats.open_resets++;
}

/*
 * vfio_pci_core_disable(): since 7.0 not without the lock of the bridge, which it only tries; and
 * never without the device's, which whoever takes its driver away has.
 */
static void disable(struct fake *fake, struct device *device)
{
	struct shared_lock *bridge = fake->config.old_close ? NULL : device->bridge_lock;

	fk_dma_buf_forget(fake, device);
	fk_irq_disable_all(device);
	if (!device->reset_works || !has_reset_method(device))
		return;
	if (device->leaving || (bridge && !fk_vlock_try(&bridge->lock))) {
		device->stats.skipped_resets++;
		fake->stats.skipped_resets++;
		return;
	}
	reset(fake, device);
	device->stats.close_resets++;
	if (bridge)
		fk_vunlock_write(&bridge->lock);
}

/* vfio_pci_validate_vf_token(); nobody has one. */
static bool wants_token(struct fake *fake, const struct device *device)
{
	const struct device *parent = fk_device_find(fake, device->physfn);

	return parent && fk_device_is_vfio(parent);
}

/* ---- Opening through the group ---- */

/* The first time, with the locks of group and dev_set held; in a container. */
static int open_in_container(struct fake *fake, struct device *device)
{
	/* vfio_group_use_container(): VFIO_SET_IOMMU comes first. */
	if (!device->group->container->has_iommu)
		return -EINVAL;
	device->group->container_users++;
	enable(fake, device);
	return 0;
}

/* Bound, reset, and attached to the compatible IOAS: vfio_iommufd_compat_attach_ioas(). */
static int open_in_iommufd(struct fake *fake, struct device *device)
{
	struct iommufd *iommufd = device->group->iommufd_file->iommufd;
	uint32_t id;
	int error;

	error = fk_iommufd_bind(fake, iommufd, device, &id);
	if (error)
		return error;
	enable(fake, device);
	id = iommufd->compat ? iommufd->compat->id : 0;
	error = id ? fk_iommufd_attach(fake, device, &id) : -ENODEV;
	if (error) {
		disable(fake, device);
		fk_iommufd_unbind(fake, device);
	}
	return error;
}

/* vfio_df_group_open(), with the group's lock held. */
static int group_open_device(struct fake *fake, struct device *device, struct file *group_file)
{
	struct group *group = device->group;
	int error = 0;

	if (!group->container && !group->iommufd_file)
		return -EINVAL;
	fk_vlock_write(fake, &device->dev_set->lock);
	if (!device->open_count)
		error = group->container ? open_in_container(fake, device) :
					   open_in_iommufd(fake, device);
	if (!error && ++device->open_count == 1)
		group_file->refs++;
	fk_vunlock_write(&device->dev_set->lock);
	return error;
}

int fk_device_open_by_group(struct fake *fake, struct file *group_file, const char *name)
{
	struct group *group = group_file->group;
	struct device *device = fake->devices;
	struct devfile *df;
	int error, fd;

	/* vfio_pci_core_match(): the name may go on with a token. */
	while (device && (device->group != group || !fk_device_is_vfio(device) ||
			  strncmp(device->address, name, strlen(device->address))))
		device = device->next;
	if (!device)
		return -ENODEV;
	if (wants_token(fake, device))
		return -EACCES;
	fk_vlock_write(fake, &group->lock);
	error = group_open_device(fake, device, group_file);
	fk_vunlock_write(&group->lock);
	if (error)
		return error;
	df = fk_xalloc(sizeof(*df));
	df->device = device;
	df->group_file = group_file;
	df->access = true;
	device->stats.opens++;
	fd = fk_file_new(fake, FILE_DEVICE, device->address, df, NULL);
	if (fd < 0)
		fk_device_release(fake, df);
	return fd;
}

/* vfio_df_group_close() */
static void group_close_device(struct fake *fake, struct devfile *df)
{
	struct device *device = df->device;
	struct group *group = device->group;
	bool last;

	fk_vlock_write(fake, &group->lock);
	fk_vlock_write(fake, &device->dev_set->lock);
	last = device->open_count == 1;
	if (last) {
		disable(fake, device);
		if (device->iommufd)
			fk_iommufd_unbind(fake, device);
		else
			group->container_users--;
	}
	device->open_count--;
	fk_vunlock_write(&device->dev_set->lock);
	fk_vunlock_write(&group->lock);
	if (last)
		fk_file_put(fake, df->group_file);
}

/* ---- Opening by the device node ---- */

int fk_device_open_node(struct fake *fake, unsigned int index, const char *path)
{
	struct device *device = fake->devices;
	struct devfile *df;
	int fd;

	while (device && (device->index != index || !fk_device_is_vfio(device)))
		device = device->next;
	if (!device || fake->config.no_cdev || fake->config.no_iommufd)
		return -ENOENT;
	df = fk_xalloc(sizeof(*df));
	df->device = device;
	fd = fk_file_new(fake, FILE_DEVICE, path, df, NULL);
	if (fd < 0)
		free(df);
	else
		device->stats.opens++;
	return fd;
}

/* vfio_df_open() and what it needs, with the lock of the dev_set held. */
static int bind_locked(struct fake *fake, struct devfile *df,
		       struct vfb_vfio_device_bind_iommufd *bind)
{
	struct device *device = df->device;
	struct file *file;
	int error;

	if (df->access)
		return -EINVAL;
	file = fk_file_get(fake, bind->iommufd);
	if (!file)
		return -EBADF;
	if (file->kind != FILE_IOMMUFD)
		error = -EBADFD;
	/* Only groups may open a device twice. */
	else if (device->open_count || device->config.busy == FAKE_BUSY_CDEV)
		error = -EINVAL;
	else if (wants_token(fake, device))
		error = -EACCES;
	else
		error = fk_iommufd_bind(fake, file->iommufd, device, &bind->out_devid);
	if (error) {
		fk_file_put(fake, file);
		return error;
	}
	device->open_count++;
	df->iommufd_file = file;
	enable(fake, device);
	df->access = true;
	return 0;
}

/* vfio_df_ioctl_bind_iommufd() */
static int bind_iommufd(struct fake *fake, struct devfile *df,
			struct vfb_vfio_device_bind_iommufd *bind)
{
	struct device *device = df->device;
	struct group *group = device->group;
	int error = 0;

	if (bind->argsz < sizeof(*bind) || bind->iommufd < 0 || bind->flags || df->group_file)
		return -EINVAL;
	fk_vlock_write(fake, &group->lock);
	if (group->opened || fk_group_opened_elsewhere(fake, group))
		error = -EBUSY;
	else
		group->cdev_opens++;
	fk_vunlock_write(&group->lock);
	if (error)
		return error;
	fk_vlock_write(fake, &device->dev_set->lock);
	error = bind_locked(fake, df, bind);
	fk_vunlock_write(&device->dev_set->lock);
	if (error)
		group->cdev_opens--;
	return error;
}

/* vfio_df_unbind_iommufd(): the reset comes before the device is detached. */
static void unbind_iommufd(struct fake *fake, struct devfile *df)
{
	struct device *device = df->device;

	fk_vlock_write(fake, &device->dev_set->lock);
	disable(fake, device);
	fk_iommufd_unbind(fake, device);
	device->open_count--;
	fk_vunlock_write(&device->dev_set->lock);
	device->group->cdev_opens--;
	fk_file_put(fake, df->iommufd_file);
}

void fk_device_release(struct fake *fake, struct devfile *df)
{
	if (df->group_file)
		group_close_device(fake, df);
	else if (df->access)
		unbind_iommufd(fake, df);
	df->device->stats.opens--;
	fk_wake_all(fake, df->device);
	free(df);
}

/* ---- ioctls ---- */

static int attach_pt(struct fake *fake, struct devfile *df,
		     struct vfb_vfio_device_attach_iommufd_pt *attach)
{
	int error;

	if (attach->argsz < sizeof(*attach) || attach->flags)
		return -EINVAL;
	fk_vlock_write(fake, &df->device->dev_set->lock);
	error = fk_iommufd_attach(fake, df->device, &attach->pt_id);
	fk_vunlock_write(&df->device->dev_set->lock);
	return error;
}

static int get_info(const struct device *device, void *arg)
{
	struct vfio_device_info info;
	size_t min = offsetof(struct vfio_device_info, num_irqs) + sizeof(info.num_irqs);

	memcpy(&info, arg, min);
	if (info.argsz < min)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | (device->reset_works ? VFIO_DEVICE_FLAGS_RESET : 0);
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	memcpy(arg, &info, min);
	return 0;
}

static int reset_ioctl(struct fake *fake, struct device *device)
{
	if (!device->reset_works)
		return -EINVAL;
	/* __pci_reset_function_locked() */
	if (!has_reset_method(device))
		return -ENOTTY;
	reset(fake, device);
	return 0;
}

int fk_device_ioctl(struct fake *fake, struct devfile *df, unsigned long request, void *arg)
{
	if (!arg && request != VFIO_DEVICE_RESET)
		return -EFAULT;
	if (request == VFB_VFIO_DEVICE_BIND_IOMMUFD)
		return bind_iommufd(fake, df, arg);
	if (!df->access)
		return -EINVAL;
	switch (request) {
	case VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return df->group_file ? -ENOTTY : attach_pt(fake, df, arg);
	case VFIO_DEVICE_GET_INFO:
		return get_info(df->device, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return fk_region_info(fake, df->device, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return fk_irq_info(df->device, arg);
	case VFIO_DEVICE_SET_IRQS:
		return fk_irq_set(df->device, arg);
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		return fk_hot_reset_info(fake, df, arg);
	case VFIO_DEVICE_PCI_HOT_RESET:
		return fk_hot_reset(fake, df, arg);
	case VFIO_DEVICE_FEATURE:
		return fk_device_feature(fake, df->device, arg);
	case VFIO_DEVICE_RESET:
		return reset_ioctl(fake, df->device);
	default:
		return -ENOTTY;
	}
}
