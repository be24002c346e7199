/* SPDX-License-Identifier: MIT */
/* Which IOVAs devices can use, by sysfs. */
#include <errno.h>
#include <vfioboost/layout.h>

#include "device/pci.h"
#include "dma/expected.h"
#include "iommu/cause.h"
#include "iommu/reserved.h"
#include "observe/error.h"
#include "options.h"

static int reach_exclude(const struct vfb_sys *sys, const char *text, struct vfb_iova_set *set)
{
	char address[VFB_PCI_ADDRESS_BYTES];
	struct vfb_pci pci;
	int error = vfb_pci_parse(text, address);

	if (!error)
		error = vfb_pci_identify(sys, address, &pci);
	if (!error && pci.group < 0)
		error = vfb_fail_no_group(&pci);
	if (!error)
		error = vfb_firmware_check(sys, address, pci.group);
	return error ? error : vfb_iova_set_exclude_device(set, sys, address, pci.group);
}

/* Frees the set on failure. */
static int reach_find(const struct vfb_sys *sys, const char *const *addresses, size_t count,
		      struct vfb_iova_set *set)
{
	int error = vfb_entries_check(addresses, count, "addresses");

	*set = (struct vfb_iova_set){0};
	if (!error)
		error = vfb_iova_set_init(set);
	for (size_t i = 0; i < count && !error; i++)
		error = reach_exclude(sys, addresses[i], set);
	if (error)
		vfb_iova_set_free(set);
	return error;
}

int vfb_pci_iova_ranges(struct vfb_ctx *ctx, const char *const *addresses, size_t count,
			struct vfb_iova_range *ranges, size_t capacity)
{
	struct vfb_iova_set set;
	int result = reach_find(ctx->sys, addresses, count, &set);

	if (result)
		return result;
	for (size_t i = 0; i < set.count && i < capacity; i++)
		ranges[i] = set.ranges[i];
	result = (int)set.count;
	vfb_iova_set_free(&set);
	return result;
}

/* sPAPR: what its DMA windows do not cover. That of the platform has 1 GiB at least. */
static int reach_exclude_gaps(const struct vfb_iommu_ops *ops, struct vfb_iova_set *set)
{
	int error;

	if (ops->backend != VFB_BACKEND_SPAPR)
		return 0;
	error = vfb_iova_set_exclude(set, UINT64_C(1) << 30, ops->usual.first - 1);
	if (!error)
		error = vfb_iova_set_exclude(set, ops->usual.last + 1, UINT64_MAX);
	if (error)
		vfb_iova_set_free(set);
	return error;
}

int vfb_space_expect_devices(struct vfb_space *space, const char *const *addresses, size_t count)
{
	struct vfb_iova_set set;
	int error;

	if (!count) {
		vfb_space_expect(space, NULL);
		return 0;
	}
	error = reach_find(space->ctx->sys, addresses, count, &set);
	if (!error)
		error = reach_exclude_gaps(space->iommu->ops, &set);
	if (!error)
		vfb_space_expect(space, &set);
	return error;
}
