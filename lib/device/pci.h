/* SPDX-License-Identifier: MIT */
#ifndef VFB_PCI_H
#define VFB_PCI_H

#include <vfioboost/pci.h>

#include "sys/sys.h"

#define VFB_PCI_DEVICES "/sys/bus/pci/devices"

/* What sysfs reports about a PCI device, as far as opening it needs it. */
struct vfb_pci {
	char address[VFB_PCI_ADDRESS_BYTES];
	/* The address of the bridge above it, "" on the root bus. */
	char bridge[VFB_PCI_ADDRESS_BYTES];
	/* The physical function of a virtual one, "" for others. */
	char parent[VFB_PCI_ADDRESS_BYTES];
	/* "" without one. */
	char driver[64];
	/* -1 without one. */
	int group;
	/* The name of its VFIO device node, "" when it has none. */
	char node[32];
	/* -1 if the host does not report it. */
	int numa_node;
};

/* Checks an address, or a path below /sys that ends with one, and writes it in full: "1:0.0" is no
 * address, "01:00.0" is. -EINVAL. */
int vfb_pci_parse(const char *given, char address[VFB_PCI_ADDRESS_BYTES]);

/* Looks a device up by its full address, whatever driver has it. -ENODEV. */
int vfb_pci_identify(const struct vfb_sys *sys, const char *address, struct vfb_pci *out);

/*
 * As vfb_pci_identify(), for a device that is to be opened. -EOPNOTSUPP without an IOMMU group,
 * -ENXIO when no VFIO driver has it.
 */
int vfb_pci_discover(const struct vfb_sys *sys, const char *address, struct vfb_pci *out);

/* Reports -EOPNOTSUPP: no IOMMU is in use for the device. */
int vfb_fail_no_group(const struct vfb_pci *pci);

/*
 * The last component of the link @name in sysfs of a device: -ENOENT when there is none.
 */
int vfb_pci_read_link(const struct vfb_sys *sys, const char *address, const char *name, char *buf,
		      size_t bytes);

#endif
