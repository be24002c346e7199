/* SPDX-License-Identifier: MIT */
/* Which backend maps faster here: a little memory, through both, by a real device. */
#include <errno.h>

#include "device/device.h"
#include "dma/rates.h"
#include "iommu/legacy.h"
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
static int measure_backend(struct vfb_ctx *ctx, enum vfb_backend backend, const char *address,
			   struct vfb_memory *memory, uint64_t *ns)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space *space;
	struct vfb_device *device;
	int error;

	opts.backend = backend;
	/* Enough, and cleared in no time. */
	opts.window_bytes = 2 * GIB;
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

/* A backend that is not there, or is not to be used, costs nothing. */
static int measure_each(struct vfb_ctx *ctx, const char *address, struct vfb_memory *memory,
			double *ns_per_gib)
{
	bool is_spapr = vfb_legacy_host_is_spapr(ctx->sys), any = false;
	int error = 0;

	for (int backend = VFB_BACKEND_TYPE1; backend <= VFB_BACKEND_SPAPR; backend++) {
		uint64_t ns = 0;

		if (backend == VFB_BACKEND_NONE || (backend == VFB_BACKEND_SPAPR) != is_spapr)
			continue;
		error = measure_backend(ctx, backend, address, memory, &ns);
		if (error && error != -ENOTSUP && error != -EACCES)
			return error;
		any = any || !error;
		ns_per_gib[backend] = (double)ns * GIB / memory->bytes;
	}
	return any ? 0 : error;
}

static int populate_timed(struct vfb_ctx *ctx, struct vfb_memory *memory, double *ns_per_gib)
{
	uint64_t begin = ctx->sys->now(ctx->sys);
	int error = vfb_memory_populate(memory);

	*ns_per_gib = (double)(ctx->sys->now(ctx->sys) - begin) * GIB / memory->bytes;
	return error;
}

int vfb_backend_measure(struct vfb_ctx *ctx, const char *address, enum vfb_page_size page_size,
			enum vfb_memory_kind kind)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;
	struct vfb_rate rate;
	int error;

	if (page_size > VFB_PAGE_1G || page_size == VFB_PAGE_AUTO)
		return vfb_fail(-EINVAL, "page size %d cannot be measured by itself",
				(int)page_size);
	rate = vfb_rates_get(ctx->rates, page_size);
	if (rate.populate > 0)
		return 0;
	opts.bytes = page_size == VFB_PAGE_1G ? GIB : BYTES;
	opts.page_size = page_size;
	opts.kind = kind;
	error = vfb_memory_create(ctx, &opts, &memory);
	if (error)
		return error;
	error = populate_timed(ctx, memory, &rate.populate);
	if (!error)
		error = measure_each(ctx, address, memory, rate.map);
	vfb_memory_destroy(memory);
	if (!error)
		vfb_rates_set(ctx->rates, page_size, &rate);
	return error;
}
