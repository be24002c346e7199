/* SPDX-License-Identifier: MIT */
/* The parts of a region that may be mapped: those that VFIO allows, without the MSI-X table. */
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdlib.h>

#include "device/device.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "round.h"
#include "sys/info.h"

/* The areas that the kernel lists; NULL: it lists none, all of the region may be mapped. */
static int read_sparse(const struct vfb_device *device, const struct vfio_region_info *info,
		       const struct vfio_region_info_cap_sparse_mmap **out)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse =
		vfb_info_capability(info, info->argsz,
				    info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0,
				    VFIO_REGION_INFO_CAP_SPARSE_MMAP, sizeof(*sparse));
	size_t room = sparse ? info->argsz - ((const char *)sparse - (const char *)info) : 0;
	bool valid = !sparse ||
		     ((uintptr_t)sparse % sizeof(sparse->areas[0].offset) == 0 &&
		      sparse->nr_areas <= (room - sizeof(*sparse)) / sizeof(sparse->areas[0]));

	/* Mappings replace what is at their addresses: nothing may reach beyond the region. */
	for (uint32_t i = 0; valid && sparse && i < sparse->nr_areas; i++)
		valid = sparse->areas[i].offset <= info->size &&
			sparse->areas[i].size <= info->size - sparse->areas[i].offset;
	if (!valid)
		return vfb_fail(-EPROTO,
				"the kernel's list of areas of region %u of device %s that can be "
				"mapped reaches beyond its %s, or beyond the list's end",
				info->index, device->pci.address, vfb_size_text(info->size).text);
	*out = sparse;
	return 0;
}

static void add_area(struct vfb_areas *areas, uint64_t first, uint64_t end)
{
	if (first < end)
		areas->areas[areas->count++] = (struct vfb_area){first, end};
}

/* Adds [@first, @end) without the hole. */
static void add_around(struct vfb_areas *areas, uint64_t first, uint64_t end,
		       const struct vfb_area *hole)
{
	if (hole->end <= first || hole->first >= end) {
		add_area(areas, first, end);
	} else {
		add_area(areas, first, hole->first);
		add_area(areas, hole->end, end);
	}
}

/* The pages of the region that hold the MSI-X table; empty when it has none. */
static int find_table(const struct vfb_device *device, unsigned int index, struct vfb_area *hole)
{
	uint64_t base = vfb_device_base_page(device);
	uint64_t at, control = 0, table = 0, vectors;
	int error = vfb_config_find_capability(device, PCI_CAP_ID_MSIX, &at);

	if (error || !at)
		return error;
	error = vfb_region_load(device, VFB_REGION_CONFIG, at + PCI_MSIX_FLAGS, 2, &control);
	if (!error)
		error = vfb_region_load(device, VFB_REGION_CONFIG, at + PCI_MSIX_TABLE, 4, &table);
	if (error || (table & PCI_MSIX_TABLE_BIR) != index)
		return error;
	table &= PCI_MSIX_TABLE_OFFSET;
	vectors = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
	hole->first = round_down(table, base);
	hole->end = round_up(table + vectors * PCI_MSIX_ENTRY_SIZE, base);
	return 0;
}

int vfb_areas_find(const struct vfb_device *device, unsigned int index,
		   const struct vfio_region_info *info, bool without_msix, struct vfb_areas *areas)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse = NULL;
	struct vfb_area hole = {0};
	int error = read_sparse(device, info, &sparse);

	if (!error && without_msix)
		error = find_table(device, index, &hole);
	if (error)
		return error;
	/* The hole may cut each of them in two. */
	areas->areas = calloc(sparse ? 2 * (size_t)sparse->nr_areas + 1 : 2, sizeof(*areas->areas));
	if (!areas->areas)
		return vfb_fail_memory();
	if (!sparse)
		add_around(areas, 0, info->size, &hole);
	for (uint32_t i = 0; sparse && i < sparse->nr_areas; i++)
		add_around(areas, sparse->areas[i].offset,
			   sparse->areas[i].offset + sparse->areas[i].size, &hole);
	return 0;
}
