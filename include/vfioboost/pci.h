/* SPDX-License-Identifier: MIT */
/**
 * @file pci.h
 * What the host's PCI devices are, as sysfs tells, whatever driver has them.
 */
#ifndef VFIOBOOST_PCI_H
#define VFIOBOOST_PCI_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Room for a PCI address: "0000:01:00.0" and its end; some domains have more digits. */
#define VFB_PCI_ADDRESS_BYTES 17

#define VFB_PCI_BARS 6

/** It is in the I/O address space: not to be mapped. */
#define VFB_PCI_BAR_IO (1u << 0)
/** It has a 64-bit address, and takes the place of the next BAR too. */
#define VFB_PCI_BAR_64BIT	 (1u << 1)
#define VFB_PCI_BAR_PREFETCHABLE (1u << 2)

struct vfb_pci_bar {
	/** 0: not implemented. */
	uint64_t bytes;
	/** VFB_PCI_BAR_... */
	uint32_t flags;
	uint32_t reserved;
};

/** A PCI device. Texts are "" where there is nothing to tell. */
struct vfb_pci_info {
	size_t size;
	/** With its domain. */
	char address[VFB_PCI_ADDRESS_BYTES];
	/** The bridge above it; "" on the root bus. */
	char bridge[VFB_PCI_ADDRESS_BYTES];
	/** The physical function that an SR-IOV virtual function belongs to. */
	char parent[VFB_PCI_ADDRESS_BYTES];
	/** The driver it is bound to. */
	char driver[64];
	/** Its VFIO device node, as "/dev/vfio/devices/vfio0" (Linux 6.6). */
	char cdev[64];
	/** How the kernel can reset it, the preferred one first, as "flr bus" (Linux 5.15); ""
	 *  when it cannot. */
	char reset_methods[64];
	/** Its IOMMU group; -1 without one, since no IOMMU is in use. */
	int group;
	/** The NUMA node it is on, -1 when the host does not tell. */
	int node;
	uint16_t vendor_id, device_id;
	/** Class, subclass and interface: 0x010802 is NVMe. */
	uint32_t class_code;
	struct vfb_pci_bar bars[VFB_PCI_BARS];
};

#define VFB_PCI_INFO_INIT VFB_SIZED(struct vfb_pci_info)

/**
 * Tells what a device is.
 *
 * @param ctx      the context
 * @param address  as "0000:01:00.0" or "01:00.0"
 * @param info     is filled in
 *
 * @return 0; -EINVAL: not a PCI address; -ENODEV: there is no such device; -E2BIG; or the errno
 * of reading sysfs.
 */
VFB_API int vfb_pci_info(struct vfb_ctx *ctx, const char *address, struct vfb_pci_info *info);

/**
 * Lists the PCI devices of the host, in order of address.
 *
 * @param addresses  gets up to @p count of them
 * @return how many there are, which may be more than @p count; -ENOTSUP: the host has no PCI;
 * or the errno of reading sysfs.
 */
VFB_API int vfb_pci_list(struct vfb_ctx *ctx, char (*addresses)[VFB_PCI_ADDRESS_BYTES],
			 size_t count);

/**
 * Lists the devices that VFIO resets together with one (its dev_set), itself among them, in order
 * of address: all of its bus, whatever their drivers; for a device on the root bus and for an
 * SR-IOV virtual function (since Linux 6.17) itself alone. Opening and closing them happens in
 * turn, and resetting the bus needs all of them in one hand.
 *
 * @return as vfb_pci_list(), and -EINVAL, -ENODEV as vfb_pci_info().
 */
VFB_API int vfb_pci_reset_set(struct vfb_ctx *ctx, const char *address,
			      char (*addresses)[VFB_PCI_ADDRESS_BYTES], size_t count);

/**
 * Gives a device to another driver: vfio-pci, or the one it had before. Needs root.
 *
 * It is taken from the driver that has it, which ends what that does with it: so this is refused
 * while a disk of it is mounted, swapped to or part of another, a network interface of it is up,
 * or a process has it open by VFIO. Programs that use it otherwise are not noticed. When the new
 * driver does not take it, the former one gets it back.
 *
 * @param ctx      the context
 * @param address  the device
 * @param driver   the name of its new driver; NULL for none
 * @param flags    VFB_PCI_BIND_FORCE: even while it is in use
 *
 * @return 0, if it was so already too; -EINVAL: not an address, not a driver's name, unknown
 * flags; -ENODEV: there is no such device; -ENOTSUP: there is no such driver, its module is not
 * loaded; -EBUSY: it is in use (the text tells by what); -EACCES: not root; or the kernel's errno.
 */
VFB_API int vfb_pci_bind(struct vfb_ctx *ctx, const char *address, const char *driver,
			 uint32_t flags);

#define VFB_PCI_BIND_FORCE (1u << 0)

#ifdef __cplusplus
}
#endif

#endif
