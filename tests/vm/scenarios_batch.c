/* SPDX-License-Identifier: MIT */
/* Batches of ranges of which some fail. */
#include "scenario.h"

#define BYTES (4 * MIB)
#define IOVA  scenario_iova

/*
 * Memory bound to node 1 which takes more than half of the pages there: creating two of them
 * succeeds, since nothing is populated, and populating the second fails.
 */
static struct vfb_memory *make_large(struct fixture *f, uint64_t *bytes)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	const unsigned int node = 1;
	struct vfb_memory *memory;

	*bytes = (machine_free_2m(node) / 2 + 2) * 2 * MIB;
	opts.bytes = *bytes;
	opts.page_size = VFB_PAGE_2M;
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	assert_ok(vfb_memory_create(f->ctx, &opts, &memory));
	return memory;
}

static void rollback(struct fixture *f)
{
	struct vfb_memory *small = make_memory(f, 2 * BYTES, VFB_PAGE_4K);
	uint64_t large_bytes, before;
	struct vfb_memory *large[2] = {make_large(f, &large_bytes), make_large(f, &large_bytes)};
	struct vfb_range range[] = {
		range_of(small, BYTES, 0),
		range_of(large[0], large_bytes, IOVA),
		range_of(large[1], large_bytes, IOVA + GIB),
	};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	range[0].flags = VFB_RANGE_ANY_IOVA;
	assert_ok(vfb_memory_populate(large[0]));
	assert_ok(map_one(space, small, BYTES, IOVA + 2 * GIB));
	before = entries_left(space);

	assert_error(vfb_space_map(space, range, COUNT(range), NULL), -ENOMEM);
	assert_says("out of free pages of 2 MiB on node 1");
	assert_int_equal(range[0].status, -ECANCELED);
	assert_int_equal(range[1].status, -ECANCELED);
	assert_int_equal(range[2].status, -ENOMEM);
	assert_holds(space, 1, 1, BYTES);
	assert_int_equal(machine_pinned(), BYTES);
	assert_int_equal(entries_left(space), before);

	/* All but the culprit; its IOVA is free, too. */
	assert_ok(vfb_space_map(space, range, 2, NULL));
	assert_ok(map_one(space, small, BYTES, IOVA + GIB));
	assert_holds(space, 1, 4, 3 * BYTES + large_bytes);
	assert_ok(vfb_space_unmap(space, range, 2, NULL));
	assert_ok(unmap_one(space, IOVA + GIB, BYTES));
	assert_ok(unmap_one(space, IOVA + 2 * GIB, BYTES));
	assert_int_equal(entries_left(space), before + (before == UINT64_MAX ? 0 : 1));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(small));
	assert_ok(vfb_memory_destroy(large[0]));
	assert_ok(vfb_memory_destroy(large[1]));
}

/* One that only the domain shows to be wrong. */
static void one_is_invalid(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_range range[] = {
		range_of(memory, BYTES, 0),
		range_of(memory, BYTES, IOVA),
		range_of(memory, MIB, MSI_WINDOW),
	};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	range[0].flags = VFB_RANGE_ANY_IOVA;
	assert_error(vfb_space_map(space, range, COUNT(range), NULL), -EINVAL);
	assert_says("entry 2");
	assert_int_equal(range[0].status, -ECANCELED);
	assert_int_equal(range[1].status, -ECANCELED);
	assert_int_equal(range[2].status, -EINVAL);
	assert_holds(space, 1, 0, 0);
	assert_ok(vfb_space_map(space, range, 2, NULL));
	assert_ok(vfb_space_unmap(space, range, 2, NULL));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

static void best_effort(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range range[] = {
		range_of(memory, BYTES, IOVA),	     range_of(memory, MIB, MSI_WINDOW),
		range_of(memory, BYTES, IOVA + MIB), range_of(memory, 1, IOVA + 2 * GIB),
		range_of(memory, BYTES, IOVA + GIB),
	};
	static const int expected[] = {0, -EINVAL, -EEXIST, -EINVAL, 0};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	opts.flags = VFB_BATCH_BEST_EFFORT;
	assert_true(vfb_space_map(space, range, COUNT(range), &opts) < 0);
	for (size_t i = 0; i < COUNT(range); i++)
		assert_int_equal(range[i].status, expected[i]);
	assert_holds(space, 1, 2, 2 * BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	assert_ok(unmap_one(space, IOVA + GIB, BYTES));
	assert_error(vfb_space_map(space, range, 1,
				   &(struct vfb_batch_opts){
					   .size = sizeof(opts),
					   .flags = 1u << 31,
				   }),
		     -EINVAL);
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* Best effort when populating fails. */
static void best_effort_late(struct fixture *f)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_memory *small = make_memory(f, BYTES, VFB_PAGE_4K);
	uint64_t bytes;
	struct vfb_memory *large[2] = {make_large(f, &bytes), make_large(f, &bytes)};
	struct vfb_range range[] = {
		range_of(large[0], bytes, IOVA),
		range_of(large[1], bytes, IOVA + GIB),
		range_of(small, BYTES, 0),
	};
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	opts.flags = VFB_BATCH_BEST_EFFORT;
	assert_ok(vfb_memory_populate(large[0]));
	assert_error(vfb_space_map(space, range, COUNT(range), &opts), -ENOMEM);
	assert_int_equal(range[0].status, 0);
	assert_int_equal(range[1].status, -ENOMEM);
	assert_int_equal(range[2].status, 0);
	assert_holds(space, 1, 2, BYTES + bytes);
	assert_ok(unmap_one(space, IOVA, bytes));
	assert_ok(unmap_one(space, 0, BYTES));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(small));
	assert_ok(vfb_memory_destroy(large[0]));
	assert_ok(vfb_memory_destroy(large[1]));
}

const struct scenario batch_scenarios[] = {
	{.name = "a batch is undone when populating fails", .run = rollback},
	{.name = "a batch with an invalid IOVA maps nothing", .run = one_is_invalid},
	{.name = "best effort keeps what succeeds", .run = best_effort},
	{.name = "best effort when populating fails", .run = best_effort_late},
	{0},
};
