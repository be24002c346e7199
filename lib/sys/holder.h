/* SPDX-License-Identifier: MIT */
/*
 * Which processes have nodes of VFIO open, as far as /proc shows it: only root sees the files of
 * other users' processes.
 */
#ifndef VFB_HOLDER_H
#define VFB_HOLDER_H

#include "sys/sys.h"

struct vfb_holder {
	int process;
	/* "process 4711 (qemu-kvm)", "this process"; "" if no process is known. */
	char text[64];
	/* "vfio/17", "vfio/devices/vfio0"; or the PCI address of what it opened through a group; ""
	 * if only that it has some device is known. */
	char what[40];
};

struct vfb_holders {
	bool searched;
	struct vfb_holder *all;
	size_t count;
	/* Processes whose files this one may not see. */
	unsigned int hidden;
};

/* Reads all of /proc, once: only for the text of an error. Returns 0 or -ENOMEM. */
int vfb_holders_search(const struct vfb_sys *sys, struct vfb_holders *holders);
void vfb_holders_free(struct vfb_holders *holders);

/* Finds a process that has one of the nodes open, another one rather than this one. */
struct vfb_holder vfb_sys_find_holder(const struct vfb_sys *sys, const char *const *paths,
				      size_t count);

/*
 * The same for any device, by its number: @what is the name that it has among @nodes. Returns
 * a negative errno when some process cannot be looked at.
 */
int vfb_sys_find_node_holder(const struct vfb_sys *sys, const struct vfb_node *nodes, size_t count,
			     struct vfb_holder *holder);

/* Writes the text about a process. */
void vfb_holder_describe(const struct vfb_sys *sys, struct vfb_holder *holder);

#endif
