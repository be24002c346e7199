/* SPDX-License-Identifier: MIT */
#ifndef VFB_IN_USE_H
#define VFB_IN_USE_H

#include "device/pci.h"

/* The disks of a device, opened exclusively: nobody else can begin to use them. */
struct vfb_disk_claim {
	int *fds;
	size_t count;
};

/*
 * Whether unbinding the device from its driver would interrupt a user of it, and claims its disks.
 * -EBUSY when a disk of it is in use by the kernel (a file system in whatever mount namespace,
 * swap, md, LVM, ...), a network interface is up, part of another or in another namespace, it has
 * virtual functions, or a process has it open, by VFIO, for which the kernel would wait, or by a
 * file of its driver such as /dev/nvme0.
 */
int vfb_device_claim_unused(const struct vfb_sys *sys, const struct vfb_pci *pci,
			    struct vfb_disk_claim *claim);

/* Also of one that was not made, which is zero. */
void vfb_disk_claim_release(const struct vfb_sys *sys, struct vfb_disk_claim *claim);

#endif
