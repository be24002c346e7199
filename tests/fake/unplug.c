/* SPDX-License-Identifier: MIT */
/* Devices that are asked for back while they are open, and come and go on the bus. */
#include "model.h"

/* vfio_unregister_group_dev(): nobody can open it any more; then waits for those who have. */
void fk_device_leave(struct fake *fake, struct device *device)
{
	device->driver[0] = '\0';
	device->leaving = true;
	fk_irq_request(fake, device);
	while (device->stats.opens)
		fk_thread_block(fake, "a device to be closed", device, NEVER);
	device->leaving = false;
}

static struct device **link_to(struct fake *fake, const struct device *device)
{
	struct device **link = &fake->devices;

	while (*link != device)
		link = &(*link)->next;
	return link;
}

void fk_device_unplug(struct fake *fake, struct device *device)
{
	fk_device_leave(fake, device);
	*link_to(fake, device) = device->next;
	device->next = fake->unplugged;
	fake->unplugged = device;
}

void fk_rescan(struct fake *fake)
{
	struct device *device;

	while ((device = fake->unplugged)) {
		fake->unplugged = device->next;
		device->next = NULL;
		device->override[0] = '\0';
		snprintf(device->driver, sizeof(device->driver), "%s", device->native);
		*link_to(fake, NULL) = device;
	}
}
