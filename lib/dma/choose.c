/* SPDX-License-Identifier: MIT */
#include "dma/choose.h"

#include <stdio.h>

#include "context.h"
#include "dma/rates.h"
#include "engine/engine.h"
#include "iommu/iommu.h"

/* With so many workers iommufd is faster even where one thread of type1 is than one of its. */
#define MANY_WORKERS 4

/* Since Linux 6.18, vfio_pin_map_dma() takes physically contiguous pages together. */
static bool type1_pins_large(const struct vfb_sys *sys)
{
	unsigned int major, minor;
	char text[128];

	return vfb_sys_read_file(sys, "/proc/sys/kernel/osrelease", text, sizeof(text)) > 0 &&
	       sscanf(text, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 18));
}

static bool choose_measured(struct vfb_ctx *ctx, enum vfb_page_size page_size,
			    enum vfb_backend *backend, char reason[VFB_REASON_BYTES])
{
	struct vfb_rate rate = vfb_rates_get(ctx->rates, page_size);
	double type1 = rate.map[VFB_BACKEND_TYPE1], iommufd = rate.map[VFB_BACKEND_IOMMUFD];

	if (type1 <= 0 || iommufd <= 0)
		return false;
	*backend = type1 < iommufd ? VFB_BACKEND_TYPE1 : VFB_BACKEND_IOMMUFD;
	snprintf(reason, VFB_REASON_BYTES,
		 "measured: mapping 1 GiB of such pages takes type1 %.1f ms and iommufd %.1f ms",
		 type1 / 1e6, iommufd / 1e6);
	return true;
}

enum vfb_backend vfb_choose_backend(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
				    char reason[VFB_REASON_BYTES])
{
	bool large = opts->page_size > VFB_PAGE_4K;
	enum vfb_backend backend;

	if (!vfb_iommu_has_iommufd(ctx->sys)) {
		snprintf(reason, VFB_REASON_BYTES,
			 "there is no iommufd, or no permission to use it");
		return VFB_BACKEND_TYPE1;
	}
	if (choose_measured(ctx, opts->page_size, &backend, reason))
		return backend;
	if (large && opts->kind == VFB_MEMORY_ANONYMOUS &&
	    vfb_engine_workers(ctx->engine) < MANY_WORKERS && type1_pins_large(ctx->sys)) {
		snprintf(reason, VFB_REASON_BYTES,
			 "not measured: this kernel's type1 pins large pages as a whole, and %u "
			 "workers are too few for iommufd to make up for that",
			 vfb_engine_workers(ctx->engine));
		return VFB_BACKEND_TYPE1;
	}
	snprintf(reason, VFB_REASON_BYTES,
		 "not measured: iommufd maps in parallel, type1 one call after another");
	return VFB_BACKEND_IOMMUFD;
}
