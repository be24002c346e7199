/* SPDX-License-Identifier: MIT */
/* Which IOVAs are valid, and which ones the library chooses. */
#include <inttypes.h>

#include "scenario.h"

/* x86 keeps it for interrupts. */
#define MSI_FIRST MSI_WINDOW
#define MSI_LAST  (MSI_WINDOW + MIB - 1)

#define MAX_RANGES 8

static size_t valid_ranges(struct vfb_space *space, struct vfb_iova_range *ranges)
{
	int count = vfb_space_iova_ranges(space, ranges, MAX_RANGES);

	assert_in_range(count, 1, MAX_RANGES);
	return count;
}

static void ranges(struct fixture *f)
{
	struct vfb_iova_range range[MAX_RANGES];
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;
	size_t count;

	assert_int_equal(valid_ranges(space, range), 1);
	assert_int_equal(range[0].first, 0);
	assert_int_equal(range[0].last, UINT64_MAX);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	/* How wide IOVAs are is a matter of the IOMMU, and whether there is another gap (AMD: 1 TiB
	 * ends with what HyperTransport keeps). */
	count = valid_ranges(space, range);
	assert_int_equal(count, f->machine->lacks & MACHINE_NARROW ? 3 : 2);
	assert_int_equal(range[0].first, 0);
	assert_int_equal(range[0].last, MSI_FIRST - 1);
	assert_int_equal(range[1].first, MSI_LAST + 1);
	assert_true(range[1].last >= (UINT64_C(1) << 38) - 1);
	/* Room for one. */
	assert_int_equal(vfb_space_iova_ranges(space, range, 1), count);
	vfb_device_close(device);
	assert_int_equal(valid_ranges(space, range), 1);
	assert_ok(vfb_space_destroy(space));
}

static void reserved(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 4 * MIB, VFB_PAGE_4K);
	struct vfb_iova_range range[MAX_RANGES];
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	char last[64];
	size_t count;

	assert_error(map_one(space, memory, PAGE, MSI_FIRST), -EINVAL);
	snprintf(last, sizeof(last), "0x0-0x%" PRIx64 " 0x%" PRIx64 "-0x", MSI_FIRST - 1,
		 MSI_LAST + 1);
	assert_says(last);
	assert_error(map_one(space, memory, 4 * MIB, MSI_FIRST - MIB), -EINVAL);
	assert_error(map_one(space, memory, 2 * PAGE, MSI_FIRST - PAGE), -EINVAL);
	assert_error(map_one(space, memory, 2 * PAGE, MSI_LAST + 1 - PAGE), -EINVAL);
	assert_holds(space, 1, 0, 0);
	/* The kernel admits what it says: both ends of each range, but not a page more. */
	count = valid_ranges(space, range);
	for (size_t i = 0; i < count; i++) {
		assert_ok(map_one(space, memory, MIB, range[i].first));
		assert_ok(map_one(space, memory, MIB, range[i].last - (MIB - 1)));
	}
	assert_holds(space, 1, 2 * count, 2 * count * MIB);
	for (size_t i = 0; i < count && range[i].last < UINT64_MAX; i++) {
		snprintf(last, sizeof(last), "-0x%" PRIx64, range[i].last);
		assert_error(map_one(space, memory, PAGE, range[i].last + 1), -EINVAL);
		assert_says(last);
	}
	for (size_t i = 0; i < count; i++) {
		assert_ok(unmap_one(space, range[i].first, MIB));
		assert_ok(unmap_one(space, range[i].last - (MIB - 1), MIB));
	}
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

static bool overlap(uint64_t first, uint64_t last, uint64_t other_first, uint64_t other_last)
{
	return first <= other_last && other_first <= last;
}

/* Fills all that is below the window with the same memory, and goes on behind it. */
static void any_iova(struct fixture *f)
{
	enum {
		BYTES = 32 * MIB,
		ENTRIES = 4 * GIB / BYTES
	};
	static struct vfb_range range[ENTRIES];
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_2M);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	uint64_t freed;

	assert_ok(vfb_memory_info(memory, &info));
	assert_ok(map_one(space, memory, BYTES, GIB + PAGE));
	for (size_t i = 0; i < ENTRIES; i++) {
		range[i] = range_of(memory, BYTES, 0);
		range[i].flags = VFB_RANGE_ANY_IOVA;
	}
	assert_ok(vfb_space_map(space, range, ENTRIES, NULL));
	for (size_t i = 0; i < ENTRIES; i++) {
		uint64_t first = range[i].iova, last = first + (BYTES - 1);

		assert_int_equal(first % (2 * MIB), (uintptr_t)info.address % (2 * MIB));
		assert_false(overlap(first, last, MSI_FIRST, MSI_LAST));
		assert_false(overlap(first, last, GIB + PAGE, GIB + PAGE + (BYTES - 1)));
		for (size_t other = 0; other < i; other++)
			assert_false(overlap(first, last, range[other].iova,
					     range[other].iova + (BYTES - 1)));
	}
	assert_true(range[ENTRIES - 1].iova > MSI_LAST);
	assert_holds(space, 1, ENTRIES + 1, (ENTRIES + UINT64_C(1)) * BYTES);

	/* What is unmapped is given out again. */
	freed = range[5].iova;
	assert_ok(vfb_space_unmap(space, &range[5], 1, NULL));
	range[5].iova = 0;
	assert_ok(vfb_space_map(space, &range[5], 1, NULL));
	assert_int_equal(range[5].iova, freed);
	assert_ok(vfb_space_unmap(space, range, ENTRIES, NULL));
	assert_ok(unmap_one(space, GIB + PAGE, BYTES));
	assert_holds(space, 1, 0, 0);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* Both kinds in one batch: those that are fixed come first. */
static void any_beside_fixed(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 8 * MIB, VFB_PAGE_THP);
	struct vfb_range range[] = {
		range_of(memory, 2 * MIB, 0),
		range_of(memory, 2 * MIB, 0),
		range_of(memory, 2 * PAGE, 0),
		range_of(memory, 2 * MIB, 4 * MIB),
	};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	range[0].flags = VFB_RANGE_ANY_IOVA;
	range[0].offset = 2 * MIB;
	range[2].flags = VFB_RANGE_ANY_IOVA;
	range[2].offset = PAGE;
	assert_ok(vfb_space_map(space, range, COUNT(range), NULL));
	assert_int_equal(range[1].iova, 0);
	assert_int_equal(range[3].iova, 4 * MIB);
	for (size_t i = 0; i < COUNT(range); i++)
		for (size_t other = 0; other < i; other++)
			assert_false(overlap(range[i].iova, range[i].iova + (range[i].bytes - 1),
					     range[other].iova,
					     range[other].iova + (range[other].bytes - 1)));
	assert_ok(vfb_space_unmap(space, range, COUNT(range), NULL));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario iova_scenarios[] = {
	{.name = "valid IOVAs", .run = ranges},
	{.name = "reserved IOVAs", .run = reserved},
	{.name = "any IOVA", .run = any_iova},
	{.name = "any IOVA beside fixed ones", .run = any_beside_fixed},
	{0},
};
