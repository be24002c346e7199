/* SPDX-License-Identifier: MIT */
#ifndef VFB_RESET_SET_H
#define VFB_RESET_SET_H

#include "device/pci.h"

/*
 * Whether two devices must not be reset at the same time: both are below one bridge, or they are
 * functions of one device on the root bus. Devices without an address are not known, and share
 * their reset with each other: one after another is always right.
 */
typedef bool vfb_reset_shared_fn(const struct vfb_pci *a, const struct vfb_pci *b);
vfb_reset_shared_fn vfb_reset_is_shared;

/*
 * The same for opening, where each virtual function is by itself: since Linux 6.17 (and 6.12.43)
 * it has a dev_set of its own, and opening takes no lock of the bridge, as closing does.
 */
vfb_reset_shared_fn vfb_reset_is_shared_opening;

/*
 * The set of the device at @index of @devices: the index of its first device. @pci_at gives the
 * devices up to @index; NULL for one that does not count.
 */
size_t vfb_reset_set(const void *devices,
		     const struct vfb_pci *(*pci_at)(const void *devices, size_t i), size_t index,
		     vfb_reset_shared_fn *is_shared);

#endif
