/* SPDX-License-Identifier: MIT */
#ifndef VFB_IN_USE_H
#define VFB_IN_USE_H

#include "device/pci.h"

/*
 * Whether taking the device from its driver would take something from somebody. -EBUSY when a
 * disk of it is mounted, swapped to, or part of another; a network interface is up; or a process
 * has it open by VFIO, for which the kernel would wait.
 */
int vfb_device_check_unused(const struct vfb_sys *sys, const struct vfb_pci *pci);

#endif
