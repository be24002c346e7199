/* SPDX-License-Identifier: MIT */
/* What the kernel limits: mappings, locked memory, permission. */
#include "scenario.h"

#define IOVA scenario_iova
/* Nothing is reserved there. */
#define ABOVE	(4 * GIB)
#define ENTRIES 8

static void mappings(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, MIB, VFB_PAGE_4K);
	struct vfb_range range[ENTRIES + 1];
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	for (size_t i = 0; i < COUNT(range); i++)
		range[i] = range_of(memory, 64 * KIB, IOVA + i * MIB);
	assert_int_equal(entries_left(space), ENTRIES);
	assert_error(vfb_space_map(space, range, ENTRIES + 1, NULL), -ENOSPC);
	assert_says("dma_entry_limit");
	assert_int_equal(entries_left(space), ENTRIES);
	assert_ok(vfb_space_map(space, range, ENTRIES, NULL));
	assert_int_equal(entries_left(space), 0);
	assert_error(vfb_space_map(space, &range[ENTRIES], 1, NULL), -ENOSPC);
	assert_says("dma_entry_limit");
	assert_ok(vfb_space_unmap(space, &range[0], 1, NULL));
	assert_int_equal(entries_left(space), 1);
	assert_ok(vfb_space_map(space, &range[ENTRIES], 1, NULL));
	assert_ok(vfb_space_unmap(space, &range[1], ENTRIES, NULL));
	assert_int_equal(entries_left(space), ENTRIES);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* One range is not cut into more mappings than there are. */
static void mappings_for_large_range(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 64 * MIB, VFB_PAGE_4K);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_int_equal(entries_left(space), 2);
	assert_ok(map_one(space, memory, 64 * MIB, IOVA));
	assert_true(entries_left(space) <= 1);
	assert_ok(unmap_one(space, IOVA, 64 * MIB));
	assert_int_equal(entries_left(space), 2);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* What the library counts is what the kernel counts, which is read with each device. */
static void count_of_mappings(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 48 * MIB, VFB_PAGE_4K);
	struct vfb_device *first, *second;
	struct vfb_space *space = make_space_with_device(f, &first);
	uint64_t all = entries_left(space), left;

	/* In several calls, and one of one. */
	assert_ok(map_one(space, memory, 48 * MIB, IOVA));
	assert_ok(map_one(space, memory, PAGE, IOVA + GIB));
	left = entries_left(space);
	assert_true(left < all);
	assert_ok(vfb_device_open(space, device_of(f, 1, 2), &second));
	assert_int_equal(entries_left(space), left);
	assert_ok(unmap_one(space, IOVA, 48 * MIB));
	assert_int_equal(entries_left(space), all - 1);
	vfb_device_close(second);
	assert_ok(vfb_device_open(space, device_of(f, 1, 2), &second));
	assert_int_equal(entries_left(space), all - 1);
	/* Mapped again for a new domain. */
	vfb_device_close(first);
	vfb_device_close(second);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &first));
	assert_int_equal(entries_left(space), all - 1);
	assert_ok(unmap_one(space, IOVA + GIB, PAGE));
	assert_int_equal(entries_left(space), all);
	end_space(space, first);
	assert_ok(vfb_memory_destroy(memory));
}

/* The count is right, too, when a device is opened while a job maps. */
static void count_while_opening(struct fixture *f)
{
	enum {
		RANGES = 256
	};
	static struct vfb_range range[RANGES];
	struct vfb_memory *memory = make_memory(f, 2 * MIB, VFB_PAGE_4K);
	struct vfb_device *first, *second;
	struct vfb_space *space = make_space_with_device(f, &first);
	uint64_t all = entries_left(space);
	struct vfb_job *map;

	assert_ok(vfb_memory_populate(memory));
	for (size_t i = 0; i < RANGES; i++)
		range[i] = range_of(memory, 64 * KIB, IOVA + i * MIB);
	for (size_t i = 0; i < 3; i++) {
		assert_ok(vfb_space_map_start(space, range, RANGES, NULL, &map));
		assert_ok(vfb_device_open(space, device_of(f, 1, 2), &second));
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		vfb_job_destroy(map);
		assert_int_equal(entries_left(space), all - RANGES);
		vfb_device_close(second);
		assert_ok(vfb_space_unmap(space, range, RANGES, NULL));
		assert_int_equal(entries_left(space), all);
	}
	end_space(space, first);
	assert_ok(vfb_memory_destroy(memory));
}

/* More than type1 has entries for: neighbours become one mapping, others are refused at once. */
static void many_pages(struct fixture *f)
{
	enum {
		PAGES = 70000,
		LIMIT = 65535
	};
	static struct vfb_range ranges[PAGES];
	struct vfb_memory *memory = make_memory(f, PAGES * PAGE, VFB_PAGE_4K);
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct vfb_translation piece;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_int_equal(entries_left(space), LIMIT);
	for (size_t i = 0; i < PAGES; i++) {
		ranges[i] = range_of(memory, PAGE, ABOVE + i * 2 * PAGE);
		ranges[i].offset = i * PAGE;
	}
	assert_error(vfb_space_map(space, ranges, PAGES, NULL), -ENOSPC);
	assert_says("70000 ranges");
	assert_says("65535 mappings");
	assert_holds(space, 1, 0, 0);
	assert_int_equal(machine_pinned(), 0);
	for (size_t i = 0; i < PAGES; i++)
		ranges[i].iova = ABOVE + i * PAGE;
	assert_ok(vfb_space_map_plan(space, ranges, PAGES, NULL, &plan));
	assert_int_equal(plan.map_calls, 1);
	assert_ok(vfb_space_map(space, ranges, PAGES, NULL));
	assert_holds(space, 1, PAGES, PAGES * PAGE);
	assert_int_equal(entries_left(space), LIMIT - 1);
	assert_int_equal(machine_pinned(), PAGES * PAGE);
	assert_int_equal(vfb_space_translate(space, ABOVE + (PAGES - 1) * PAGE, PAGE, &piece, 1),
			 1);
	assert_ok(vfb_space_unmap(space, ranges, PAGES, NULL));
	assert_int_equal(entries_left(space), LIMIT);
	assert_int_equal(machine_pinned(), 0);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* 8 MiB. */
static void locked_memory(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 16 * MIB, VFB_PAGE_4K);
	struct vfb_device *device, *other_device;
	struct vfb_space *other, *space = make_space_with_device(f, &device);

	assert_error(map_one(space, memory, 16 * MIB, IOVA), -ENOMEM);
	assert_says("RLIMIT_MEMLOCK");
	assert_says("8 MiB");
	assert_holds(space, 1, 0, 0);
	assert_ok(map_one(space, memory, 6 * MIB, IOVA));
	assert_error(map_one(space, memory, 4 * MIB, IOVA + GIB), -ENOMEM);
	assert_says("RLIMIT_MEMLOCK");
	assert_holds(space, 1, 1, 6 * MIB);
	/* Up to the limit, to the byte. */
	assert_ok(map_one(space, memory, 2 * MIB, IOVA + GIB));
	assert_error(map_one(space, memory, PAGE, IOVA + 2 * GIB), -ENOMEM);
	/* The spaces of a process share it. */
	other = make_space(f);
	assert_ok(vfb_device_open(other, f->machine->devices[1], &other_device));
	assert_error(map_one(other, memory, PAGE, IOVA), -ENOMEM);
	end_space(other, other_device);
	assert_ok(unmap_one(space, IOVA, 6 * MIB));
	assert_ok(map_one(space, memory, 6 * MIB, IOVA + 2 * GIB));
	assert_ok(unmap_one(space, IOVA + GIB, 2 * MIB));
	assert_ok(unmap_one(space, IOVA + 2 * GIB, 6 * MIB));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* Everybody may open the container of type1; iommufd is root's to begin with. */
static void no_permission(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *device;
	struct vfb_space *space;

	opts.backend = f->backend;
	if (f->backend == VFB_BACKEND_IOMMUFD) {
		assert_error(vfb_space_create(f->ctx, &opts, &space), -EACCES);
		assert_null(space);
		assert_says("no permission to open /dev/iommu");
		/* What is left is type1. */
		assert_ok(vfb_space_create(f->ctx, NULL, &space));
	} else {
		assert_ok(vfb_space_create(f->ctx, &opts, &space));
	}
	assert_error(vfb_device_open(space, f->machine->devices[0], &device), -EACCES);
	assert_null(device);
	assert_says("no permission to open /dev/vfio/");
	assert_ok(vfb_space_destroy(space));
}

static void no_permission_for_device(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	assert_error(vfb_device_open(space, f->machine->devices[0], &device), -EACCES);
	assert_null(device);
	assert_says(f->backend != VFB_BACKEND_IOMMUFD || f->by_group ?
			    "no permission to open /dev/vfio/" :
			    "no permission to open /dev/vfio/devices/");
	assert_holds(space, 0, 0, 0);
	assert_ok(vfb_space_destroy(space));
}

/* Who was given the nodes needs nothing else, as far as RLIMIT_MEMLOCK goes: 8 MiB. */
static void ordinary_user(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 16 * MIB, VFB_PAGE_2M);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_ok(map_one(space, memory, 8 * MIB, IOVA));
	assert_error(map_one(space, memory, 2 * MIB, IOVA + GIB), -ENOMEM);
	assert_says("RLIMIT_MEMLOCK");
	vfb_device_close(device);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_ok(unmap_one(space, IOVA, 8 * MIB));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario limit_scenarios[] = {
	{.name = "the limit of mappings",
	 .run = mappings,
	 .limits.entries = ENTRIES,
	 .only = VFB_BACKEND_TYPE1},
	{.name = "the limit of mappings and a large range",
	 .run = mappings_for_large_range,
	 .limits.entries = 2,
	 .only = VFB_BACKEND_TYPE1},
	{.name = "the count of mappings",
	 .run = count_of_mappings,
	 .limits.entries = 64,
	 .only = VFB_BACKEND_TYPE1},
	{.name = "the count of mappings while a device opens",
	 .run = count_while_opening,
	 .only = VFB_BACKEND_TYPE1},
	{.name = "70,000 pages", .run = many_pages, .only = VFB_BACKEND_TYPE1},
	{.name = "the limit of locked memory",
	 .run = locked_memory,
	 .limits.memlock = 8 * MIB,
	 .counts_aliases = true},
	{.name = "no permission", .run = no_permission, .limits.user = USER_MAY_NOTHING},
	{.name = "no permission for the device",
	 .run = no_permission_for_device,
	 .limits.user = USER_MAY_IOMMUFD},
	{.name = "an ordinary user",
	 .run = ordinary_user,
	 .limits.user = USER_MAY_ALL,
	 .counts_aliases = true},
	{0},
};
