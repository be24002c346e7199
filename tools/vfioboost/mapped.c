/* SPDX-License-Identifier: MIT */
#include "mapped.h"

int mapped_open(struct mapped *mapped, struct vfb_ctx *ctx, const struct vfb_memory_opts *memory,
		const struct vfb_space_opts *space, const char *device)
{
	int error;

	*mapped = (struct mapped){NULL, NULL, NULL};
	error = vfb_memory_create(ctx, memory, &mapped->memory);
	if (!error)
		error = vfb_space_create(ctx, space, &mapped->space);
	if (!error && device)
		error = vfb_device_open(mapped->space, device, &mapped->device);
	return error;
}

void mapped_close(const struct mapped *mapped)
{
	vfb_device_close(mapped->device);
	vfb_space_destroy(mapped->space);
	vfb_memory_destroy(mapped->memory);
}

enum vfb_backend mapped_backend(const struct mapped *mapped)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;

	vfb_space_info(mapped->space, &info);
	return info.backend;
}
