/* SPDX-License-Identifier: MIT */
/* What a slot consists of, for those who take it. */
#include <stdio.h>

#include "device/device.h"
#include "slot/slot.h"

/* Several devices may be of one group. */
static uint32_t describe_group(struct vfb_wire_grant *grant, int fd, int *groups)
{
	for (uint32_t i = 0; i < grant->group_count; i++)
		if (groups[i] == fd)
			return i;
	groups[grant->group_count] = fd;
	return grant->group_count++;
}

static void describe_pci(const struct vfb_pci *pci, struct vfb_wire_pci *out)
{
	out->group = pci->group;
	out->numa_node = pci->numa_node;
	snprintf(out->node, sizeof(out->node), "%.15s", pci->node);
	snprintf(out->bridge, sizeof(out->bridge), "%.15s", pci->bridge);
	snprintf(out->parent, sizeof(out->parent), "%.15s", pci->parent);
}

static void describe_devices(const struct vfb_slot *slot, struct vfb_wire_grant *grant, int *fds)
{
	int *groups = fds + slot->device_count;

	for (size_t i = 0; i < slot->device_count; i++) {
		const struct vfb_device *device = slot->devices[i];

		fds[i] = device->fd;
		snprintf(grant->devices[i], sizeof(grant->devices[i]), "%.15s",
			 device->pci.address);
		describe_pci(&device->pci, &grant->pci[i]);
		if (grant->backend == VFB_BACKEND_TYPE1)
			grant->device_ids[i] = describe_group(grant, vfb_device_group_fd(device),
							      groups);
		else
			grant->device_ids[i] = device->device_id;
	}
	grant->device_count = slot->device_count;
}

static void describe_space(const struct vfb_slot *slot, struct vfb_wire_grant *grant, int *fd)
{
	struct vfb_space_info space = VFB_SPACE_INFO_INIT;

	vfb_space_info(slot->space, &space);
	*fd = space.fd;
	grant->level = slot->device_count ? 2 : 1;
	grant->backend = space.backend;
	grant->ioas = space.ioas;
	grant->domain = slot->domain;
	for (size_t i = 0; i < slot->range_count; i++) {
		grant->ranges[i].iova = slot->ranges[i].iova;
		grant->ranges[i].offset = slot->ranges[i].offset;
		grant->ranges[i].bytes = slot->ranges[i].bytes;
	}
	grant->range_count = slot->range_count;
}

size_t vfb_slot_describe(const struct vfb_slot *slot, struct vfb_wire_grant *grant,
			 int fds[VFB_WIRE_FDS])
{
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;

	vfb_memory_info(slot->memory, &memory);
	fds[0] = memory.fd;
	/* The daemon writes its own names. */
	*grant = (struct vfb_wire_grant){
		.slot = "slot",
		.class_name = "class",
		.page_size = memory.page_size,
		.bytes = memory.bytes,
	};
	if (slot->space) {
		describe_space(slot, grant, &fds[1]);
		describe_devices(slot, grant, &fds[2]);
	}
	return vfb_wire_fd_count(grant);
}
