/* SPDX-License-Identifier: MIT */
/*
 * No IOMMU: for programs that emulate devices, and for measurements without hardware. Mapping only
 * populates ranges and publishes them for translation.
 */
#include <errno.h>
#include <stdlib.h>

#include "iommu/iommu.h"
#include "observe/error.h"

static int none_create(const struct vfb_sys *sys, const struct vfb_iommu_source *source,
		       struct vfb_iommu **out)
{
	struct vfb_iommu *iommu = calloc(1, sizeof(*iommu));

	if (!iommu)
		return vfb_fail_memory();
	iommu->ops = &vfb_iommu_none;
	iommu->sys = sys;
	(void)source;
	iommu->has_domain = true;
	*out = iommu;
	return 0;
}

static void none_destroy(struct vfb_iommu *iommu)
{
	free(iommu);
}

static int none_attach(struct vfb_iommu *iommu, const struct vfb_iommu_device *device)
{
	(void)iommu;
	return vfb_fail(-ENOTSUP,
			"device %s cannot be opened in a space without an IOMMU "
			"(VFB_BACKEND_NONE): create the space with another backend",
			device->address);
}

static int none_describe(struct vfb_iommu *iommu, struct vfb_iova_range **ranges, size_t *count,
			 uint64_t *alignment, uint64_t *entries_left)
{
	(void)iommu;
	*ranges = calloc(1, sizeof(**ranges));
	if (!*ranges)
		return vfb_fail_memory();
	(*ranges)[0].last = UINT64_MAX;
	*count = 1;
	*alignment = 1;
	*entries_left = UINT64_MAX;
	return 0;
}

static int none_map(struct vfb_iommu *iommu, struct vfb_iommu_map *map)
{
	(void)iommu;
	(void)map;
	return 0;
}

static int none_file(const struct vfb_iommu *iommu, uint32_t *ioas)
{
	(void)iommu;
	*ioas = 0;
	return -1;
}

static int none_unmap(struct vfb_iommu *iommu, uint64_t iova, uint64_t bytes)
{
	(void)iommu;
	(void)iova;
	(void)bytes;
	return 0;
}

/* Nothing is ever attached, opened or detached. */
const struct vfb_iommu_ops vfb_iommu_none = {
	.name = "none",
	.usual = VFB_USUAL_IOVAS,
	.backend = VFB_BACKEND_NONE,
	.parallel = true,
	.map_call = "none",
	.unmap_call = "none",
	.attach_call = "none",
	.detach_call = "none",
	.create = none_create,
	.destroy = none_destroy,
	.attach = none_attach,
	.describe = none_describe,
	.map = none_map,
	.file = none_file,
	.unmap = none_unmap,
};
