/* SPDX-License-Identifier: MIT */
/* What of a region may be mapped: what VFIO tells, without the MSI-X table if that is wanted. */
#include <stdlib.h>

#include "device/device.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "round.h"
#include "sys/capability.h"

/* Of the configuration space. */
#define STATUS		 0x06
#define STATUS_HAS_LIST	 0x10
#define CAPABILITIES	 0x34
#define CAPABILITY_MSIX	 0x11
#define MSIX_VECTORS	 2
#define MSIX_VECTOR_MASK 0x7ff
#define MSIX_TABLE	 4
#define MSIX_TABLE_BAR	 0x7
#define MSIX_ENTRY_BYTES 16

static int read_areas(const struct vfio_region_info *info, struct vfb_areas *areas)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse =
		vfb_capability_find(info, info->argsz,
				    info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0,
				    VFIO_REGION_INFO_CAP_SPARSE_MMAP);

	areas->count = sparse ? sparse->nr_areas : 1;
	/* And one for a hole. */
	areas->areas = calloc(areas->count + 1, sizeof(*areas->areas));
	if (!areas->areas)
		return vfb_fail_memory();
	if (!sparse)
		areas->areas[0] = (struct vfb_area){0, info->size};
	for (size_t i = 0; sparse && i < areas->count; i++)
		areas->areas[i] = (struct vfb_area){sparse->areas[i].offset,
						    sparse->areas[i].offset +
							    sparse->areas[i].size};
	return 0;
}

static void cut_hole(struct vfb_areas *areas, uint64_t first, uint64_t end)
{
	for (size_t i = 0; i < areas->count; i++) {
		struct vfb_area *area = &areas->areas[i];

		if (end <= area->first || first >= area->end)
			continue;
		/* Only the last one can be cut in two: then there is room for the rest. */
		if (end < area->end)
			areas->areas[areas->count++] = (struct vfb_area){end, area->end};
		area->end = first > area->first ? first : area->first;
		return;
	}
}

/* Where the MSI-X capability is in the configuration space, 0 when there is none. */
static int find_msix(const struct vfb_device *device, uint64_t *at)
{
	uint64_t status, offset = 0, header = 0;
	int error = vfb_region_load(device, VFB_REGION_CONFIG, STATUS, 2, &status);

	*at = 0;
	if (!error && status & STATUS_HAS_LIST)
		error = vfb_region_load(device, VFB_REGION_CONFIG, CAPABILITIES, 1, &offset);
	/* A list that is longer goes in circles. */
	for (int i = 0; i < 48 && offset && !error; i++) {
		error = vfb_region_load(device, VFB_REGION_CONFIG, offset & ~UINT64_C(3), 2,
					&header);
		if (!error && (header & 0xff) == CAPABILITY_MSIX) {
			*at = offset & ~UINT64_C(3);
			return 0;
		}
		offset = header >> 8;
	}
	return error;
}

static int cut_msix(const struct vfb_device *device, unsigned int index, struct vfb_areas *areas)
{
	uint64_t at, control = 0, table = 0;
	int error = find_msix(device, &at);

	if (error || !at)
		return error;
	error = vfb_region_load(device, VFB_REGION_CONFIG, at + MSIX_VECTORS, 2, &control);
	if (!error)
		error = vfb_region_load(device, VFB_REGION_CONFIG, at + MSIX_TABLE, 4, &table);
	if (error || (table & MSIX_TABLE_BAR) != index)
		return error;
	table &= ~(uint64_t)MSIX_TABLE_BAR;
	cut_hole(areas, round_down(table, 4 * KIB),
		 round_up(table + ((control & MSIX_VECTOR_MASK) + 1) * MSIX_ENTRY_BYTES, 4 * KIB));
	return 0;
}

int vfb_areas_find(const struct vfb_device *device, unsigned int index,
		   const struct vfio_region_info *info, bool without_msix, struct vfb_areas *areas)
{
	int error = read_areas(info, areas);

	if (!error && without_msix)
		error = cut_msix(device, index, areas);
	if (error) {
		free(areas->areas);
		*areas = (struct vfb_areas){0};
	}
	return error;
}
