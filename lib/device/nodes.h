/* SPDX-License-Identifier: MIT */
#ifndef VFB_NODES_H
#define VFB_NODES_H

#include "sys/sys.h"

/* The character and block devices of a PCI device: files such as /dev/nvme0 stand for them. */
struct vfb_nodes {
	struct vfb_node *all;
	size_t count;
};

/* What is in the folder of a device in sysfs, and below. What cannot be looked at is an error. */
int vfb_nodes_find(const struct vfb_sys *sys, const char *folder, struct vfb_nodes *nodes);

/* One whose folder is elsewhere, as that of a disk with several paths is. Nothing if it has no
 * number. */
int vfb_nodes_add(const struct vfb_sys *sys, const char *folder, bool is_block,
		  struct vfb_nodes *nodes);

void vfb_nodes_free(struct vfb_nodes *nodes);

#endif
