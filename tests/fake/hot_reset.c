/* SPDX-License-Identifier: MIT */
/* Resetting a whole bus (drivers/vfio/pci/vfio_pci_core.c). */
#include <linux/vfio.h>

#include "model.h"
#include "sys/uapi.h"

/* On the same bus: below the same bridge, virtual functions too. */
static bool shares_bus(const struct device *a, const struct device *b)
{
	return a == b || (a->bridge[0] && !strcmp(a->bridge, b->bridge));
}

/* pci_probe_reset_bus() */
static bool bus_resets(const struct device *device)
{
	return device->bridge[0] && !device->config.no_bus_reset;
}

int fk_hot_reset_info(struct fake *fake, struct devfile *df, void *arg)
{
	struct vfio_pci_hot_reset_info *info = arg;
	uint32_t count = 0, room;

	if (info->argsz < sizeof(*info))
		return -EINVAL;
	if (!bus_resets(df->device))
		return -ENODEV;
	room = (info->argsz - sizeof(*info)) / sizeof(info->devices[0]);
	for (const struct device *d = fake->devices; d; d = d->next) {
		unsigned int segment, bus, slot, function;

		if (!shares_bus(df->device, d))
			continue;
		sscanf(d->address, "%x:%x:%x.%x", &segment, &bus, &slot, &function);
		if (count < room)
			info->devices[count] = (struct vfio_pci_dependent_device){
				.group_id = d->group ? d->group->number : 0,
				.segment = segment,
				.bus = bus,
				.devfn = slot << 3 | function,
			};
		count++;
	}
	info->flags = df->group_file ? 0 : VFB_VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
	info->count = count;
	return count > room ? -ENOSPC : 0;
}

/* Whether a group of @df's bus is one of those that were given. */
static bool group_given(struct fake *fake, const struct vfio_pci_hot_reset *reset,
			const struct group *group)
{
	for (uint32_t i = 0; i < reset->count; i++) {
		struct file *file = fk_file_get(fake, reset->group_fds[i]);
		bool same = file && file->kind == FILE_GROUP && file->group == group;

		if (file)
			fk_file_put(fake, file);
		if (same)
			return true;
	}
	return false;
}

/* vfio_pci_dev_set_hot_reset(): all of the bus have VFIO drivers and belong to the caller. */
static bool owns_bus(struct fake *fake, const struct devfile *df,
		     const struct vfio_pci_hot_reset *reset)
{
	for (const struct device *d = fake->devices; d; d = d->next) {
		if (!shares_bus(df->device, d))
			continue;
		if (!fk_device_is_vfio(d))
			return false;
		if (df->group_file ? !group_given(fake, reset, d->group) :
				     d->iommufd != df->device->iommufd)
			return false;
	}
	return true;
}

int fk_hot_reset(struct fake *fake, struct devfile *df, void *arg)
{
	const struct vfio_pci_hot_reset *hot = arg;
	uint64_t longest = 0;

	if (hot->argsz < sizeof(*hot) || !hot->count != !df->group_file)
		return -EINVAL;
	if (!bus_resets(df->device))
		return -ENODEV;
	if (!owns_bus(fake, df, hot))
		return -EINVAL;
	fk_vlock_write(fake, &df->device->dev_set->lock);
	for (struct device *d = fake->devices; d; d = d->next)
		if (shares_bus(df->device, d)) {
			fk_dma_buf_move(fake, d, true);
			longest = max_u64(longest, d->config.reset_ns);
		}
	fk_clock_spend(fake, longest);
	for (struct device *d = fake->devices; d; d = d->next) {
		if (!shares_bus(df->device, d))
			continue;
		fk_region_reset(d);
		fk_dma_buf_move(fake, d, false);
		d->stats.resets++;
	}
	fake->stats.bus_resets++;
	fk_vunlock_write(&df->device->dev_set->lock);
	return 0;
}
