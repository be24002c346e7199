/* SPDX-License-Identifier: MIT */
#include "iommu/reserved.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES "/sys/bus/pci/devices"

/* iommu_group_resv_type_string */
static const char *const kind_names[] = {
	[VFB_RESERVED_PLAIN] = "reserved",
	[VFB_RESERVED_MSI] = "msi",
	[VFB_RESERVED_DIRECT] = "direct",
	[VFB_RESERVED_RELAXABLE] = "direct-relaxable",
};

const char *vfb_reserved_name(enum vfb_reserved_kind kind)
{
	return kind_names[kind];
}

struct regions {
	bool (*each)(const struct vfb_reserved *reserved, void *arg);
	void *arg;
};

/* iommu_group_show_resv_regions(). What is of a kind that is not known is not mapped either. */
static bool read_reserved_region(const char *line, void *arg)
{
	const struct regions *regions = arg;
	struct vfb_reserved region = {.kind = VFB_RESERVED_PLAIN};
	char kind[32];

	if (sscanf(line, "%" SCNx64 " %" SCNx64 " %31s", &region.first, &region.last, kind) != 3 ||
	    region.first > region.last)
		return true;
	for (size_t i = 0; i < sizeof(kind_names) / sizeof(kind_names[0]); i++)
		if (!strcmp(kind, kind_names[i]))
			region.kind = (enum vfb_reserved_kind)i;
	return regions->each(&region, regions->arg);
}

void vfb_reserved_each(const struct vfb_sys *sys, int group,
		       bool (*each)(const struct vfb_reserved *reserved, void *arg), void *arg)
{
	struct regions regions = {each, arg};
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/reserved_regions", group);
	vfb_sys_each_line(sys, path, read_reserved_region, &regions);
}

static bool note_direct(const struct vfb_reserved *reserved, void *arg)
{
	struct vfb_reserved *out = arg;

	if (reserved->kind == VFB_RESERVED_DIRECT)
		*out = *reserved;
	return reserved->kind != VFB_RESERVED_DIRECT;
}

bool vfb_reserved_find_direct(const struct vfb_sys *sys, int group, struct vfb_reserved *out)
{
	*out = (struct vfb_reserved){.kind = VFB_RESERVED_PLAIN};
	vfb_reserved_each(sys, group, note_direct, out);
	return out->kind == VFB_RESERVED_DIRECT;
}

/*
 * VT-d: the smaller of MGAW, the widest address that the hardware accepts, and of the deepest page
 * table that SAGAW offers: 39, 48 or 57 bits.
 */
static unsigned int vtd_bits(uint64_t cap)
{
	unsigned int widest = (cap >> 16 & 0x3f) + 1, levels = cap >> 8 & 0x1f;
	unsigned int table = levels & 8 ? 57 : levels & 4 ? 48 : levels & 2 ? 39 : 64;

	return widest < table ? widest : table;
}

/* AMD-Vi: HATS, the number of levels of a page table: 4 (48 bits), 5 (57) or 6 (64). */
static unsigned int amd_bits(uint64_t features)
{
	static const unsigned int bits[] = {48, 57, 64, 64};

	return bits[features >> 10 & 3];
}

/* The last of several numbers is the one of interest: "features" has two since Linux 6.7. */
static bool read_hex(const struct vfb_sys *sys, const char *address, const char *file,
		     uint64_t *value)
{
	char path[96], text[64], *colon;

	snprintf(path, sizeof(path), DEVICES "/%s/iommu/%s", address, file);
	if (vfb_sys_read_file(sys, path, text, sizeof(text)) <= 0)
		return false;
	colon = strrchr(text, ':');
	*value = strtoull(colon ? colon + 1 : text, NULL, 16);
	return *value;
}

uint64_t vfb_vtd_ecap(const struct vfb_sys *sys, const char *address)
{
	uint64_t ecap;

	return read_hex(sys, address, "intel-iommu/ecap", &ecap) ? ecap : 0;
}

unsigned int vfb_iova_bits(const struct vfb_sys *sys, const char *address)
{
	uint64_t value;

	if (read_hex(sys, address, "intel-iommu/cap", &value))
		return vtd_bits(value);
	if (read_hex(sys, address, "amd-iommu/features", &value))
		return amd_bits(value);
	return 64;
}

struct exclusion {
	struct vfb_iova_set *set;
	int error;
};

/* vfio_iommu_iova_exclude(), iopt_table_enforce_dev_resv_regions() */
static bool exclude_region(const struct vfb_reserved *reserved, void *arg)
{
	struct exclusion *exclusion = arg;

	if (reserved->kind != VFB_RESERVED_RELAXABLE)
		exclusion->error = vfb_iova_set_exclude(exclusion->set, reserved->first,
							reserved->last);
	return !exclusion->error;
}

int vfb_iova_set_exclude_device(struct vfb_iova_set *set, const struct vfb_sys *sys,
				const char *address, int group)
{
	unsigned int bits = vfb_iova_bits(sys, address);
	struct exclusion exclusion = {.set = set};

	vfb_reserved_each(sys, group, exclude_region, &exclusion);
	if (!exclusion.error && bits < 64)
		exclusion.error = vfb_iova_set_exclude(set, UINT64_C(1) << bits, UINT64_MAX);
	return exclusion.error;
}
