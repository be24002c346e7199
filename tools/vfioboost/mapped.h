/* SPDX-License-Identifier: MIT */
#ifndef MAPPED_H
#define MAPPED_H

#include <vfioboost.h>

/* What a bench maps: memory, and a space with a device. */
struct mapped {
	struct vfb_memory *memory;
	struct vfb_space *space;
	/* NULL without one. */
	struct vfb_device *device;
};

/*
 * Creates the memory and the space, and opens the device, if there is one. On failure returns
 * -errno, and mapped_close() closes what there is.
 */
int mapped_open(struct mapped *mapped, struct vfb_ctx *ctx, const struct vfb_memory_opts *memory,
		const struct vfb_space_opts *space, const char *device);
void mapped_close(const struct mapped *mapped);

/* The backend that the space uses. */
enum vfb_backend mapped_backend(const struct mapped *mapped);

#endif
