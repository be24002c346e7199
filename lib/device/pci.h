/* SPDX-License-Identifier: MIT */
#ifndef VFB_PCI_H
#define VFB_PCI_H

#include "sys/sys.h"

/* "0000:01:00.0" and its end; domains of more than 16 bits have more digits. */
#define VFB_PCI_ADDRESS 17

/* What sysfs tells of a PCI device that is bound to a VFIO driver. */
struct vfb_pci {
	char address[VFB_PCI_ADDRESS];
	/* The address of the bridge above it, "" on the root bus. */
	char bridge[VFB_PCI_ADDRESS];
	int group;
	/* The name of its VFIO device node, "" when it has none. */
	char node[32];
	/* -1 when the host does not tell. */
	int numa_node;
};

/* Checks an address and writes it in full: "1:0.0" is no address, "01:00.0" is. -EINVAL. */
int vfb_pci_parse(const char *text, char address[VFB_PCI_ADDRESS]);

/*
 * Looks a device up by its full address. -ENODEV, -EOPNOTSUPP without an IOMMU group, -ENXIO when
 * no VFIO driver has it.
 */
int vfb_pci_discover(const struct vfb_sys *sys, const char *address, struct vfb_pci *out);

#endif
