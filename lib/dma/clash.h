/* SPDX-License-Identifier: MIT */
#ifndef VFB_CLASH_H
#define VFB_CLASH_H

struct vfb_iommu_device;
struct vfb_space;

/*
 * After -EADDRINUSE: replaces the text of the error if sysfs shows what the device cannot use, and
 * the index what is mapped there.
 */
void vfb_space_explain_clash(struct vfb_space *space, const struct vfb_iommu_device *device);

#endif
