/* SPDX-License-Identifier: MIT */
/**
 * @file pci.h
 * The PCI devices of the host, as described in sysfs, whatever their drivers.
 */
#ifndef VFIOBOOST_PCI_H
#define VFIOBOOST_PCI_H

#include <vfioboost/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Size of a PCI address with its terminating NUL: "0000:01:00.0"; some domains have more digits.
 */
#define VFB_PCI_ADDRESS_BYTES 17

/** Number of BARs of a PCI device. */
#define VFB_PCI_BARS 6

/** The BAR is in I/O port space and cannot be mapped. */
#define VFB_PCI_BAR_IO (1u << 0)
/** The BAR has a 64-bit address and occupies the next BAR as well. */
#define VFB_PCI_BAR_64BIT	 (1u << 1)
#define VFB_PCI_BAR_PREFETCHABLE (1u << 2)

/** A BAR of a PCI device. */
struct vfb_pci_bar {
	/** Size of the BAR; 0: not implemented. */
	uint64_t bytes;
	/** VFB_PCI_BAR_... */
	uint32_t flags;
	uint32_t reserved;
};

/** A PCI device. A string is "" if there is no such thing. */
struct vfb_pci_info {
	size_t size;
	/** The PCI address including the domain. */
	char address[VFB_PCI_ADDRESS_BYTES];
	/** The bridge above the device; "" on the root bus. */
	char bridge[VFB_PCI_ADDRESS_BYTES];
	/** The physical function, of an SR-IOV virtual function. */
	char parent[VFB_PCI_ADDRESS_BYTES];
	/** The driver that the device is bound to. */
	char driver[64];
	/** The VFIO device node, such as "/dev/vfio/devices/vfio0" (Linux 6.6). */
	char cdev[64];
	/** The reset methods that the kernel will try, in order, such as "flr bus" (Linux 5.15); ""
	 *  if there is none. */
	char reset_methods[64];
	/** The IOMMU group; -1: none, because no IOMMU is in use. */
	int group;
	/** The NUMA node, -1 if the host does not report it. */
	int node;
	uint16_t vendor_id, device_id;
	/** Class, subclass and interface: 0x010802 is NVMe. */
	uint32_t class_code;
	struct vfb_pci_bar bars[VFB_PCI_BARS];
};

#define VFB_PCI_INFO_INIT VFB_SIZED(struct vfb_pci_info)

/**
 * Describes a device.
 *
 * @param ctx      the context
 * @param address  the PCI address, "0000:01:00.0" or "01:00.0"
 * @param info     is filled in
 *
 * @return 0; -EINVAL: not a PCI address; -ENODEV: there is no such device; -E2BIG; or the error of
 * reading sysfs.
 */
VFB_API int vfb_pci_info(struct vfb_ctx *ctx, const char *address, struct vfb_pci_info *info);

/**
 * Lists the PCI devices of the host in the order of their addresses.
 *
 * @param ctx        the context
 * @param addresses  receives the first @p count addresses
 * @param count      capacity of @p addresses
 *
 * @return the number of devices, which may exceed @p count; -ENOTSUP: the host has no PCI; or the
 * error of reading sysfs.
 */
VFB_API int vfb_pci_list(struct vfb_ctx *ctx, char (*addresses)[VFB_PCI_ADDRESS_BYTES],
			 size_t count);

/**
 * Lists the devices that VFIO resets together with a device (its dev_set), including the device, in
 * the order of their addresses: all devices on its bus, whatever their drivers. A device on the
 * root bus is alone, and so is an SR-IOV virtual function since Linux 6.17. The kernel opens and
 * closes the devices of a set one after another, and resets their bus only for a process that has
 * all of them.
 *
 * @param ctx        the context
 * @param address    the PCI address of the device
 * @param addresses  receives the first @p count addresses
 * @param count      capacity of @p addresses
 *
 * @return the number of devices, which may exceed @p count; or the errors of vfb_pci_info().
 */
VFB_API int vfb_pci_reset_set(struct vfb_ctx *ctx, const char *address,
			      char (*addresses)[VFB_PCI_ADDRESS_BYTES], size_t count);

/**
 * Binds a device to another driver: to vfio-pci, or back to the one it had before
 * (driver_override in sysfs). Needs root.
 *
 * The device is unbound from its present driver first, which ends whatever uses the device through
 * that driver. It is therefore refused while the kernel uses a disk of the device (mounted in any
 * mount namespace, used for swap, part of another block device), while a network interface of it is
 * up, part of another interface or in another network namespace, while it has virtual functions, or
 * while a process that /proc shows has it open: through VFIO, or by a file of its driver, whatever
 * the file is called (/dev/nvme0, /dev/sg0, /dev/dri/card0, or a disk that it has not claimed).
 * Other uses are not detected, such as a file that is mapped but no longer open. If the new driver
 * rejects the device, it is bound to its former driver again.
 *
 * @param ctx      the context
 * @param address  the PCI address of the device
 * @param driver   name of the new driver; NULL for none
 * @param flags    VFB_PCI_BIND_...
 *
 * @return 0, also if the device was bound so already; -EINVAL: not a PCI address, not the name of a
 * driver, or unknown flag; -ENODEV: there is no such device; -ENOTSUP: there is no such driver:
 * load its module; -EBUSY: the device is in use (the error text says by what); -EACCES: not root;
 * -ENOENT: /dev lacks a disk of the device, so that its use is not known; or the error of the
 * kernel.
 */
VFB_API int vfb_pci_bind(struct vfb_ctx *ctx, const char *address, const char *driver,
			 uint32_t flags);

/** Unbind the device even if it is in use. */
#define VFB_PCI_BIND_FORCE (1u << 0)

#ifdef __cplusplus
}
#endif

#endif
