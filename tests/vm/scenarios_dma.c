/* SPDX-License-Identifier: MIT */
/* Mapping and unmapping at fixed IOVAs. */
#include "scenario.h"

#define BYTES (8 * MIB)
#define IOVA  scenario_iova

struct setting {
	struct vfb_device *device;
	struct vfb_space *space;
	struct vfb_memory *memory;
};

static struct setting begin(struct fixture *f)
{
	struct setting s;

	s.space = make_space_with_device(f, &s.device);
	s.memory = make_memory(f, BYTES, VFB_PAGE_THP);
	return s;
}

static void end(struct setting *s)
{
	end_space(s->space, s->device);
	assert_ok(vfb_memory_destroy(s->memory));
}

static const char *at_iova(const char *what)
{
	static char text[80];

	snprintf(text, sizeof(text), "%s at IOVA 0x%llx", what, (unsigned long long)IOVA);
	return text;
}

static void overlaps(struct fixture *f)
{
	struct setting s = begin(f);
	const uint64_t page = PAGE;
	struct vfb_range two[] = {range_of(s.memory, 2 * page, IOVA + GIB),
				  range_of(s.memory, page, IOVA + GIB + page)};

	assert_ok(map_one(s.space, s.memory, BYTES, IOVA));
	assert_error(map_one(s.space, s.memory, BYTES, IOVA), -EEXIST);
	assert_says(at_iova("overlaps what is mapped"));
	assert_error(map_one(s.space, s.memory, page, IOVA), -EEXIST);
	assert_error(map_one(s.space, s.memory, page, IOVA + BYTES - page), -EEXIST);
	assert_error(map_one(s.space, s.memory, 2 * page, IOVA - page), -EEXIST);
	assert_error(map_one(s.space, s.memory, 2 * page, IOVA + BYTES - page), -EEXIST);
	assert_error(vfb_space_map(s.space, two, 2, NULL), -EEXIST);
	assert_says("overlaps another entry");
	assert_holds(s.space, 1, 1, BYTES);
	/* Beside it there is room on both sides. */
	assert_ok(map_one(s.space, s.memory, page, IOVA - page));
	assert_ok(map_one(s.space, s.memory, page, IOVA + BYTES));
	assert_holds(s.space, 1, 3, BYTES + 2 * page);
	assert_ok(unmap_one(s.space, IOVA - page, BYTES + 2 * page));
	assert_holds(s.space, 1, 0, 0);
	end(&s);
}

static void unmap_errors(struct fixture *f)
{
	struct setting s = begin(f);
	struct vfb_range ranges[] = {range_of(NULL, BYTES, IOVA),
				     range_of(NULL, BYTES, IOVA + GIB)};

	assert_error(unmap_one(s.space, IOVA, BYTES), -ENOENT);
	assert_says(at_iova("nothing is mapped"));
	assert_ok(map_one(s.space, s.memory, BYTES, IOVA));
	assert_error(unmap_one(s.space, IOVA, 0), -EINVAL);
	assert_error(unmap_one(s.space, IOVA, BYTES / 2), -EINVAL);
	assert_says("does not split mappings");
	assert_error(unmap_one(s.space, IOVA + BYTES / 2, BYTES / 2), -EINVAL);
	assert_error(unmap_one(s.space, IOVA + PAGE, PAGE), -EINVAL);
	/* More than is mapped. */
	assert_error(unmap_one(s.space, IOVA, 2 * BYTES), -ENOENT);
	assert_error(unmap_one(s.space, IOVA - BYTES, 2 * BYTES), -ENOENT);
	/* Nothing is unmapped when an entry is wrong. */
	assert_error(vfb_space_unmap(s.space, ranges, 2, NULL), -ENOENT);
	assert_int_equal(ranges[1].status, -ENOENT);
	assert_holds(s.space, 1, 1, BYTES);
	assert_ok(unmap_one(s.space, IOVA, BYTES));
	assert_error(unmap_one(s.space, IOVA, BYTES), -ENOENT);
	end(&s);
}

/* Adjacent mappings of different sizes, out of order, unmapped as one. */
static void adjacent(struct fixture *f)
{
	struct setting s = begin(f);
	struct vfb_memory *other = make_memory(f, BYTES, VFB_PAGE_4K);
	struct vfb_range ranges[] = {
		range_of(s.memory, 4 * MIB, IOVA + MIB),
		range_of(other, MIB, IOVA),
		range_of(other, 3 * PAGE, IOVA + 5 * MIB),
		range_of(s.memory, PAGE, IOVA + 6 * MIB),
	};
	uint64_t before = entries_left(s.space);

	ranges[0].offset = 2 * MIB;
	assert_ok(vfb_space_map(s.space, ranges, COUNT(ranges), NULL));
	assert_holds(s.space, 1, 4, 5 * MIB + 4 * PAGE);
	assert_error(unmap_one(s.space, IOVA, 4 * MIB), -EINVAL);
	/* The hole. */
	assert_error(unmap_one(s.space, IOVA, 6 * MIB + PAGE), -ENOENT);
	assert_ok(unmap_one(s.space, IOVA, 5 * MIB + 3 * PAGE));
	assert_holds(s.space, 1, 1, PAGE);
	assert_ok(unmap_one(s.space, IOVA + 6 * MIB, PAGE));
	assert_int_equal(entries_left(s.space), before);
	assert_ok(vfb_memory_destroy(other));
	end(&s);
}

static void wrong_ranges(struct fixture *f)
{
	struct setting s = begin(f);
	struct vfb_range range;

	assert_error(map_one(s.space, s.memory, 0, IOVA), -EINVAL);
	assert_says("is empty");
	assert_error(map_one(s.space, s.memory, BYTES, IOVA + 1), -EINVAL);
	assert_says("is not aligned");
	assert_error(map_one(s.space, s.memory, BYTES, IOVA + 2 * KIB), -EINVAL);
	assert_error(map_one(s.space, s.memory, PAGE + 1, IOVA), -EINVAL);
	assert_error(map_one(s.space, s.memory, BYTES + PAGE, IOVA), -EINVAL);
	assert_says("ends beyond its memory");
	assert_error(map_one(s.space, s.memory, 2 * PAGE, -(PAGE)), -EINVAL);
	assert_error(map_one(s.space, NULL, BYTES, IOVA), -EINVAL);
	range = range_of(s.memory, PAGE, IOVA);
	range.offset = 2 * KIB;
	assert_error(vfb_space_map(s.space, &range, 1, NULL), -EINVAL);
	range.offset = BYTES;
	assert_error(vfb_space_map(s.space, &range, 1, NULL), -EINVAL);
	range.offset = 0;
	range.flags = 1u << 31;
	assert_error(vfb_space_map(s.space, &range, 1, NULL), -EINVAL);
	assert_holds(s.space, 1, 0, 0);
	end(&s);
}

/* Without a device ranges are kept, and mapped for the first one. */
static void no_device(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 16 * BYTES, VFB_PAGE_THP);
	struct vfb_range ranges[2] = {range_of(memory, 8 * BYTES, IOVA)};
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	ranges[1] = ranges[0];
	ranges[1].offset = 8 * BYTES;
	ranges[1].flags = VFB_RANGE_ANY_IOVA;
	assert_ok(vfb_space_map(space, ranges, 2, NULL));
	assert_holds(space, 0, 2, 16 * BYTES);
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_int_equal(machine_pinned(), 16 * BYTES);
	assert_ok(vfb_space_unmap(space, &ranges[1], 1, NULL));
	assert_int_equal(machine_pinned(), 8 * BYTES);
	vfb_device_close(device);
	assert_ok(vfb_space_unmap(space, &ranges[0], 1, NULL));
	assert_holds(space, 0, 0, 0);
	assert_ok(vfb_space_destroy(space));
	assert_ok(vfb_memory_destroy(memory));
}

/* A start whose only device fails: what was to be mapped waits for another one. */
static void device_fails(struct fixture *f)
{
	struct vfb_device_request request = {.address = f->machine->foreign};
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_range range = range_of(memory, BYTES, IOVA);
	struct vfb_space *space = make_space(f);
	struct vfb_job *open, *map;
	struct vfb_device *device;

	assert_ok(vfb_devices_open_start(space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(space, &range, 1, NULL, &map));
	assert_error(vfb_job_wait(open, UINT64_MAX), -ENXIO);
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	assert_holds(space, 0, 1, BYTES);
	assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
	assert_int_equal(machine_pinned(), BYTES);
	assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

static void access_flags(struct fixture *f)
{
	static const uint32_t flags[] = {VFB_RANGE_READ, VFB_RANGE_WRITE,
					 VFB_RANGE_READ | VFB_RANGE_WRITE};
	struct setting s = begin(f);
	struct vfb_range ranges[COUNT(flags)];

	for (size_t i = 0; i < COUNT(flags); i++) {
		ranges[i] = range_of(s.memory, 2 * MIB, IOVA + i * 2 * MIB);
		ranges[i].offset = i * 2 * MIB;
		ranges[i].flags = flags[i];
	}
	assert_ok(vfb_space_map(s.space, ranges, COUNT(ranges), NULL));
	assert_holds(s.space, 1, 3, 6 * MIB);
	assert_ok(vfb_space_unmap(s.space, ranges, COUNT(ranges), NULL));
	end(&s);
}

/* The same pages at several IOVAs. */
static void aliases(struct fixture *f)
{
	struct setting s = begin(f);

	for (uint64_t i = 0; i < 4; i++)
		assert_ok(map_one(s.space, s.memory, BYTES, IOVA + i * BYTES));
	assert_holds(s.space, 1, 4, 4 * BYTES);
	/* Each counts, but what is registered for several of them. */
	assert_int_equal(machine_pinned(), f->backend == VFB_BACKEND_SPAPR ? BYTES : 4 * BYTES);
	assert_error(vfb_memory_destroy(s.memory), -EBUSY);
	assert_ok(unmap_one(s.space, IOVA, 4 * BYTES));
	end(&s);
}

const struct scenario dma_scenarios[] = {
	{.name = "ranges that overlap", .run = overlaps},
	{.name = "unmapping what is not mapped as a whole", .run = unmap_errors},
	{.name = "adjacent mappings unmapped as one", .run = adjacent},
	{.name = "ranges that are wrong", .run = wrong_ranges},
	{.name = "mapping without a device", .run = no_device},
	{.name = "mapping while the only device fails", .run = device_fails},
	{.name = "ranges for reading or writing only", .run = access_flags},
	{.name = "the same memory at several IOVAs", .run = aliases},
	{0},
};
