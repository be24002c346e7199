/* SPDX-License-Identifier: MIT */
/* What is mapped where a device cannot reach. */
#include "dma/clash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "dma/space.h"
#include "iommu/reserved.h"
#include "observe/error.h"

struct clash {
	struct vfb_space *space;
	const struct vfb_iommu_device *device;
	bool found;
};

/* Whether something is mapped in the range, which is @what. */
static bool clash_check(struct clash *clash, uint64_t first, uint64_t last, const char *what)
{
	struct vfb_space *space = clash->space;
	const struct vfb_mapping *mapping;
	struct vfb_interval at = {.bytes = 0};

	pthread_mutex_lock(&space->lock);
	mapping = vfb_index_at(&space->index, first);
	while (mapping && vfb_mapping_is_host_only(mapping))
		mapping = vfb_index_next((struct vfb_mapping *)mapping);
	clash->found = mapping && mapping->at.iova <= last;
	if (clash->found)
		at = mapping->at;
	pthread_mutex_unlock(&space->lock);
	if (clash->found)
		vfb_fail(-EADDRINUSE,
			 "device %s cannot use the IOVAs 0x%" PRIx64 "-0x%" PRIx64
			 " (%s), where %s at IOVA 0x%" PRIx64
			 " are mapped: open it before mapping, or map at other IOVAs "
			 "(vfb_space_expect_devices(), vfb_layout())",
			 clash->device->address, first, last, what, vfb_size_text(at.bytes).text,
			 at.iova);
	return clash->found;
}

static bool visit_region(const struct vfb_reserved *reserved, void *arg)
{
	struct clash *clash = arg;
	char what[96];

	snprintf(what, sizeof(what), "%s, see /sys/kernel/iommu_groups/%d/reserved_regions",
		 vfb_reserved_name(reserved->kind), clash->device->group);
	return reserved->kind == VFB_RESERVED_RELAXABLE ||
	       !clash_check(clash, reserved->first, reserved->last, what);
}

void vfb_space_explain_clash(struct vfb_space *space, const struct vfb_iommu_device *device)
{
	struct clash clash = {.space = space, .device = device};
	unsigned int bits = vfb_iova_bits(space->ctx->sys, device->address);
	char what[48];

	vfb_reserved_each(space->ctx->sys, device->group, visit_region, &clash);
	if (clash.found || bits == 64)
		return;
	snprintf(what, sizeof(what), "its IOMMU translates %u bits", bits);
	clash_check(&clash, UINT64_C(1) << bits, UINT64_MAX, what);
}
