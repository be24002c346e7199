/* SPDX-License-Identifier: MIT */
/* What an IOMMU cannot translate for a device, as sysfs reports it before the device is opened. */
#ifndef VFB_RESERVED_H
#define VFB_RESERVED_H

#include <stddef.h>

#include "iommu/iova_set.h"
#include "sys/sys.h"

enum vfb_reserved_kind {
	/* The kernel never maps anything there. */
	VFB_RESERVED_PLAIN,
	/* Interrupts of devices are written there. */
	VFB_RESERVED_MSI,
	/* The firmware requires it to be mapped 1:1, so a guest cannot have the device. */
	VFB_RESERVED_DIRECT,
	/* The firmware maps it 1:1 for its own use only: VFIO ignores it. */
	VFB_RESERVED_RELAXABLE,
};

/* Both ends inclusive. */
struct vfb_reserved {
	uint64_t first, last;
	enum vfb_reserved_kind kind;
};

/*
 * Calls @each with the reserved regions of an IOMMU group until it returns false. A file that is
 * missing or has other lines is no error.
 */
void vfb_reserved_each(const struct vfb_sys *sys, int group,
		       bool (*each)(const struct vfb_reserved *reserved, void *arg), void *arg);

/* The name of a kind in the kernel's file. */
const char *vfb_reserved_name(enum vfb_reserved_kind kind);

/* Whether the firmware requires a 1:1 mapping for a device of the group; the first goes to @out. */
bool vfb_reserved_find_direct(const struct vfb_sys *sys, int group, struct vfb_reserved *out);

/* Number of bits of the IOVAs that the IOMMU of a PCI device translates, 64 if it is not known. */
unsigned int vfb_iova_bits(const struct vfb_sys *sys, const char *address);

/* The extended capabilities of the VT-d unit of a PCI device; 0: it has another IOMMU. */
uint64_t vfb_vtd_ecap(const struct vfb_sys *sys, const char *address);

/* Removes what the device cannot reach from the set. -ENOMEM. */
int vfb_iova_set_exclude_device(struct vfb_iova_set *set, const struct vfb_sys *sys,
				const char *address, int group);

#endif
