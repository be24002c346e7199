/* SPDX-License-Identifier: MIT */
/* Opening the nodes of VFIO and of iommufd, and why one cannot be opened. */
#ifndef VFB_NODE_H
#define VFB_NODE_H

#include "sys/sys.h"

enum vfb_node_problem {
	VFB_NODE_GOOD,
	/* The kernel does not have what it stands for. */
	VFB_NODE_ABSENT,
	/* The kernel has it, but /dev, of this container, has no node; or an outdated one. */
	VFB_NODE_MISSING,
	VFB_NODE_DENIED,
	VFB_NODE_IN_USE,
	VFB_NODE_FAILED,
};

struct vfb_node_trial {
	enum vfb_node_problem problem;
	/* What is wrong, and what helps; "" if nothing does. */
	char text[256], remedy[248];
};

/* Opens a node. Returns a file descriptor, or a negative errno and why in @trial. */
int vfb_node_open(const struct vfb_sys *sys, const char *path, struct vfb_node_trial *trial);

/*
 * Whether the node's numbers are not those of the kernel, so that it may be another's: says so in
 * @trial.
 */
bool vfb_node_is_outdated(const struct vfb_sys *sys, const char *path,
			  struct vfb_node_trial *trial);

/* The name of a group's node: /dev/vfio/17. */
struct vfb_node_path {
	char text[48];
};

struct vfb_node_path vfb_node_of_group(int group);

#endif
