/* SPDX-License-Identifier: MIT */
/* Which backend maps faster here: a little memory, through both, by a real device. */
#include <errno.h>

#include "device/device.h"
#include "memory/memory.h"

#define BYTES (64 * MIB)

static int map_timed(struct vfb_space *space, struct vfb_memory *memory, uint64_t *ns)
{
	struct vfb_range range = {
		.memory = memory,
		.bytes = memory->bytes,
		.flags = VFB_RANGE_ANY_IOVA,
	};
	const struct vfb_sys *sys = space->ctx->sys;
	uint64_t begin = sys->now(sys);
	int error = vfb_space_map(space, &range, 1, NULL);

	*ns = sys->now(sys) - begin;
	return error ? error : vfb_space_unmap(space, &range, 1, NULL);
}

/* The first time warms up. */
static int measure(struct vfb_ctx *ctx, enum vfb_backend backend, const char *address,
		   struct vfb_memory *memory, uint64_t *ns)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;
	struct vfb_device *device;
	int error;

	opts.backend = backend;
	error = vfb_space_create(ctx, &opts, &space);
	if (error)
		return error;
	error = vfb_device_open(space, address, &device);
	for (int i = 0; i < 2 && !error; i++)
		error = map_timed(space, memory, ns);
	vfb_device_close(device);
	vfb_space_destroy(space);
	return error;
}

static int measure_both(struct vfb_ctx *ctx, const char *address, enum vfb_page_size page_size,
			struct vfb_memory *memory)
{
	uint64_t ns[VFB_BACKEND_IOMMUFD + 1] = {0};
	int error = 0;

	for (int backend = VFB_BACKEND_TYPE1; backend <= VFB_BACKEND_IOMMUFD && !error; backend++)
		error = measure(ctx, backend, address, memory, &ns[backend]);
	if (error)
		return error;
	pthread_mutex_lock(&ctx->rates.lock);
	for (int backend = VFB_BACKEND_TYPE1; backend <= VFB_BACKEND_IOMMUFD; backend++)
		ctx->rates.ns_per_gib[page_size][backend] = (double)ns[backend] * GIB /
							    memory->bytes;
	pthread_mutex_unlock(&ctx->rates.lock);
	return 0;
}

int vfb_backend_measure(struct vfb_ctx *ctx, const char *address, enum vfb_page_size page_size,
			enum vfb_memory_kind kind)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	bool known;
	int error;

	if (page_size > VFB_PAGE_1G || page_size == VFB_PAGE_AUTO)
		return vfb_fail(-EINVAL, "page size %d cannot be measured by itself",
				(int)page_size);
	pthread_mutex_lock(&ctx->rates.lock);
	known = ctx->rates.ns_per_gib[page_size][VFB_BACKEND_TYPE1] > 0;
	pthread_mutex_unlock(&ctx->rates.lock);
	if (known || !vfb_iommu_has_iommufd(ctx->sys))
		return 0;
	opts.bytes = page_size == VFB_PAGE_1G ? GIB : BYTES;
	opts.page_size = page_size;
	opts.kind = kind;
	error = vfb_memory_create(ctx, &opts, &memory);
	if (error)
		return error;
	error = vfb_memory_populate(memory);
	if (!error)
		error = measure_both(ctx, address, page_size, memory);
	vfb_memory_destroy(memory);
	return error;
}
