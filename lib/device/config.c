/* SPDX-License-Identifier: MIT */
/* The configuration space of an open device. */
#include <linux/pci_regs.h>

#include "device/device.h"

/* Those below 256 bytes, of 4 bytes each at least, after a header of 64: a longer list loops. */
#define MAX_CAPABILITIES 48

int vfb_config_find_capability(const struct vfb_device *device, unsigned int id, uint64_t *at)
{
	uint64_t status, offset = 0, header = 0;
	int error = vfb_region_load(device, VFB_REGION_CONFIG, PCI_STATUS, 2, &status);

	*at = 0;
	if (!error && status & PCI_STATUS_CAP_LIST)
		error = vfb_region_load(device, VFB_REGION_CONFIG, PCI_CAPABILITY_LIST, 1, &offset);
	for (int i = 0; i < MAX_CAPABILITIES && offset && !error; i++) {
		/* The lowest two bits are reserved. */
		offset &= ~UINT64_C(3);
		error = vfb_region_load(device, VFB_REGION_CONFIG, offset, 2, &header);
		if (!error && (header & 0xff) == id) {
			*at = offset;
			return 0;
		}
		offset = header >> 8;
	}
	return error;
}

/* __vfio_pci_memory_enabled(): what it refuses, accesses to a mapping get a SIGBUS for. */
bool vfb_device_has_memory(const struct vfb_device *device)
{
	uint64_t command, at, power = 0;

	if (vfb_region_load(device, VFB_REGION_CONFIG, PCI_COMMAND, 2, &command) ||
	    !(command & PCI_COMMAND_MEMORY) ||
	    vfb_config_find_capability(device, PCI_CAP_ID_PM, &at) ||
	    (at && vfb_region_load(device, VFB_REGION_CONFIG, at + PCI_PM_CTRL, 2, &power)))
		return false;
	/* D3hot is 3. */
	return (power & PCI_PM_CTRL_STATE_MASK) < 3;
}
