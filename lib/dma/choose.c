/* SPDX-License-Identifier: MIT */
#include "dma/choose.h"

#include <stdio.h>

#include "context.h"
#include "dma/rates.h"
#include "engine/engine.h"
#include "iommu/legacy.h"

/* With this many workers iommufd is faster, even where a single thread of type1 is. */
#define MANY_WORKERS 4

/* Since Linux 6.18, vfio_pin_map_dma() pins physically contiguous pages together. */
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
	snprintf(
		reason, VFB_REASON_BYTES,
		"measured: mapping 1 GiB of these pages takes %.1f ms with type1 and %.1f ms with iommufd",
		type1 / 1e6, iommufd / 1e6);
	return true;
}

enum vfb_backend vfb_choose_backend(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
				    char reason[VFB_REASON_BYTES])
{
	bool large = opts->page_size > VFB_PAGE_BASE;
	enum vfb_backend backend;

	if (vfb_legacy_host_is_spapr(ctx->sys)) {
		snprintf(reason, VFB_REASON_BYTES, "the IOMMU is that of POWER (sPAPR)");
		return VFB_BACKEND_SPAPR;
	}
	if (!vfb_iommu_has_iommufd(ctx->sys)) {
		snprintf(reason, VFB_REASON_BYTES, "iommufd is not available, or not permitted");
		return VFB_BACKEND_TYPE1;
	}
	if (choose_measured(ctx, opts->page_size, &backend, reason))
		return backend;
	if (large && opts->kind == VFB_MEMORY_ANONYMOUS &&
	    vfb_engine_workers(ctx->engine) < MANY_WORKERS && type1_pins_large(ctx->sys)) {
		snprintf(reason, VFB_REASON_BYTES,
			 "not measured: type1 of this kernel pins large pages as a whole, and %u "
			 "workers are too few for iommufd to be faster",
			 vfb_engine_workers(ctx->engine));
		return VFB_BACKEND_TYPE1;
	}
	snprintf(reason, VFB_REASON_BYTES,
		 "not measured: map calls run in parallel with iommufd, but not with type1");
	return VFB_BACKEND_IOMMUFD;
}
