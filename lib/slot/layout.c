/* SPDX-License-Identifier: MIT */
/* Where virtual machine monitors place the memory of a guest. */
#include "slot/layout.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "memory/memory.h"
#include "observe/error.h"

struct layout {
	const char *name;
	/* Memory below 4 GiB ends here; larger guests have less of it below, as QEMU's. */
	uint64_t low_end, low_end_if_larger;
	/* The beginning, which the VMM maps anew while the guest starts. */
	uint64_t skip;
	/* The firmware may hide the end of low memory from devices. */
	bool hides_end;
};

static const struct layout layouts[] = {
	/* A driver of its own: everything from 4 GiB on. */
	{"flat", 0, 0, 0, false},
	/* QEMU's q35: pc_q35_init(), 2 GiB below 4 GiB if 2.75 GiB are exceeded. */
	{"q35", 0xb0000000, 0x80000000, 2 * MIB, true},
	/* cloud-hypervisor: arch/src/x86_64/layout.rs, MEM_32BIT_RESERVED_START. */
	{"ch", 0xc0000000, 0xc0000000, 0, false},
};

static const struct layout *find_layout(const char *name)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (!strcmp(layouts[i].name, name))
			return &layouts[i];
	return NULL;
}

static void add_range(struct vfb_range *range, uint64_t iova, uint64_t offset, uint64_t bytes)
{
	*range = (struct vfb_range){
		.iova = iova,
		.offset = offset,
		.bytes = bytes,
		.flags = VFB_RANGE_READ | VFB_RANGE_WRITE,
	};
}

/*
 * Low memory. The kernel unmaps only whole mappings, so what the firmware may hide has some of its
 * own: TSEG of q35 has 1, 2, 8 or up to 16 MiB.
 */
static int add_low_ranges(struct vfb_range *ranges, const struct layout *layout, uint64_t low)
{
	static const uint64_t ends[] = {16 * MIB, 8 * MIB, 2 * MIB, MIB, 0};
	uint64_t begin = layout->skip;
	int count = 0;

	for (size_t i = layout->hides_end ? 0 : 4; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (begin + ends[i] < low) {
			add_range(&ranges[count++], begin, begin, low - ends[i] - begin);
			begin = low - ends[i];
		}
	return count;
}

int vfb_layout_ranges(const char *layout, uint64_t bytes,
		      struct vfb_range ranges[VFB_LAYOUT_RANGES])
{
	const struct layout *known = find_layout(layout);
	uint64_t low;
	int count = 0;

	if (!known)
		return vfb_fail(-EINVAL, "\"%s\" is not a layout: use flat, q35 or ch", layout);
	low = bytes < known->low_end ? bytes : known->low_end_if_larger;
	if (low && low <= known->skip)
		return vfb_fail(-EINVAL, "layout %s needs more than %s of memory, not %s", layout,
				vfb_size_text(known->skip).text, vfb_size_text(bytes).text);
	if (low)
		count = add_low_ranges(ranges, known, low);
	if (bytes > low)
		add_range(&ranges[count++], 4 * GIB, low, bytes - low);
	return count;
}
