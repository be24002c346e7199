/* SPDX-License-Identifier: MIT */
/* Planning a batch: neighbours, limits, order, and dry runs. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static struct vfb_map_plan plan_of(struct host *host, struct vfb_range *ranges, size_t count,
				   const struct vfb_batch_opts *opts)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;

	assert_ok(vfb_space_map_plan(host->space, ranges, count, opts, &plan));
	return plan;
}

/* Pages next to each other, or with a hole behind each. */
static struct vfb_range *make_pages(struct vfb_memory *memory, size_t count, uint64_t stride)
{
	struct vfb_range *ranges = calloc(count, sizeof(*ranges));

	assert_non_null(ranges);
	for (size_t i = 0; i < count; i++)
		ranges[i] = (struct vfb_range){.memory = memory,
					       .offset = i * 4 * KIB,
					       .bytes = 4 * KIB,
					       .iova = 4 * GIB + i * stride};
	return ranges;
}

/* More pages than type1 has mappings: neighbours fit, others are refused before anything. */
static void test_70000(void **state)
{
	enum {
		PAGES = 70000
	};
	struct vfb_map_plan plan;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range *ranges, all;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	memory = make_memory(&host, PAGES * 4 * KIB, VFB_PAGE_4K);
	ranges = make_pages(memory, PAGES, 8 * KIB);
	assert_fails(vfb_space_map_plan(host.space, ranges, PAGES, NULL, &plan), -ENOSPC, "70000",
		     "65535 mappings", "dma_entry_limit");
	assert_fails(vfb_space_map(host.space, ranges, PAGES, NULL), -ENOSPC, "70000 ranges",
		     "65535 mappings", "dma_entry_limit");
	assert_int_equal(stats_of(&host).map_calls, 0);
	assert_int_equal(stats_of(&host).populated_bytes, 0);
	free(ranges);

	ranges = make_pages(memory, PAGES, 4 * KIB);
	plan = plan_of(&host, ranges, PAGES, NULL);
	assert_int_equal(plan.map_calls, 1);
	assert_int_equal(plan.flags, VFB_MAP_PLAN_COALESCED);
	assert_int_equal(plan.bytes, PAGES * 4 * KIB);
	assert_int_equal(plan.populate_bytes, PAGES * 4 * KIB);
	assert_int_equal(plan.entries_left, 65535);
	assert_ok(vfb_space_map(host.space, ranges, PAGES, NULL));
	assert_int_equal(stats_of(&host).map_calls, 1);
	assert_int_equal(info_of(host.space).mappings, PAGES);
	assert_int_equal(info_of(host.space).entries_left, 65534);
	all = ranges[0];
	all.bytes = PAGES * 4 * KIB;
	assert_mapped(&host, &all);
	/* They can only go together. */
	assert_fails(vfb_space_unmap(host.space, &ranges[7], 1, NULL), -EINVAL, "entry 0",
		     "joined");
	assert_fails(vfb_space_unmap(host.space, &ranges[1], PAGES - 1, NULL), -EINVAL, "joined");
	assert_ok(vfb_space_unmap(host.space, ranges, PAGES, NULL));
	assert_int_equal(info_of(host.space).entries_left, 65535);
	assert_int_equal(stats_of(&host).mappings, 0);
	free(ranges);
	host_end(&host, device, memory);
}

/* What is joined comes back as it was when the domain was lost; or is joined then. */
static void test_joined_again(void **state)
{
	struct fake_config config = {.dma_entry_limit = 4};
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range *ranges;
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
	memory = make_memory(&host, 16 * 4 * KIB, VFB_PAGE_4K);
	ranges = make_pages(memory, 16, 4 * KIB);
	assert_ok(vfb_space_map(host.space, ranges, 8, NULL));
	vfb_device_close(device);
	/* Kept, without a limit that is known. */
	assert_ok(vfb_space_map(host.space, ranges + 8, 8, NULL));
	assert_ok(vfb_device_open(host.space, addresses[0], &device));
	assert_int_equal(stats_of(&host).mappings, 1);
	for (size_t i = 0; i < 16; i++)
		assert_mapped(&host, &ranges[i]);
	assert_ok(vfb_space_unmap(host.space, ranges, 16, NULL));
	assert_int_equal(info_of(host.space).entries_left, 4);
	free(ranges);
	host_end(&host, device, memory);
}

/*
 * What was kept needs more mappings than there are, even when neighbours are joined: opening fails,
 * joins nothing for good, and unmapping some of it helps, as the error says.
 */
static void test_too_many_kept(void **state)
{
	struct fake_config config = {.dma_entry_limit = 3};
	struct vfb_range ranges[5];
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_ready(&host, &config, VFB_BACKEND_TYPE1, 1);
	memory = make_memory(&host, 16 * MIB, VFB_PAGE_4K);
	/* Two neighbours, and three apart. */
	for (size_t i = 0; i < 5; i++)
		ranges[i] = (struct vfb_range){.memory = memory,
					       .offset = i * MIB,
					       .bytes = MIB,
					       .iova = (i < 2 ? 4 : 4 + i) * GIB +
						       (i == 1 ? MIB : 0)};
	assert_ok(vfb_space_map(host.space, ranges, 5, NULL));
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -ENOSPC, "unmap some");
	assert_int_equal(stats_of(&host).mappings, 0);
	assert_ok(vfb_space_unmap(host.space, &ranges[0], 1, NULL));
	assert_ok(vfb_space_unmap(host.space, &ranges[4], 1, NULL));
	assert_ok(vfb_device_open(host.space, addresses[0], &device));
	for (size_t i = 1; i < 4; i++)
		assert_mapped(&host, &ranges[i]);
	assert_ok(vfb_space_unmap(host.space, ranges + 1, 3, NULL));
	host_end(&host, device, memory);
}

/* Joined on demand, by both backends; cut by iommufd for its workers. */
static void test_coalesce(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = VFB_BATCH_COALESCE};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct vfb_range *ranges;
		struct vfb_map_plan plan;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, 1024 * 4 * KIB, VFB_PAGE_4K);
		ranges = make_pages(memory, 1024, 4 * KIB);
		/* Not a neighbour: other access. */
		ranges[1000].flags = VFB_RANGE_READ;
		assert_int_equal(plan_of(&host, ranges, 1024, NULL).map_calls, 1024);
		plan = plan_of(&host, ranges, 1024, &opts);
		assert_int_equal(plan.map_calls, 3);
		assert_ok(vfb_space_map(host.space, ranges, 1024, &opts));
		assert_int_equal(stats_of(&host).map_calls, plan.map_calls);
		for (size_t i = 0; i < 1024; i++)
			assert_mapped(&host, &ranges[i]);
		assert_ok(vfb_space_unmap(host.space, &ranges[1000], 1, NULL));
		assert_fails(vfb_space_unmap(host.space, ranges, 999, NULL), -EINVAL, "joined");
		assert_ok(vfb_space_unmap(host.space, ranges, 1000, NULL));
		assert_ok(vfb_space_unmap(host.space, ranges + 1001, 23, NULL));
		assert_int_equal(stats_of(&host).mappings, 0);
		/* Rolled back as one. */
		fake_fail_call(host.fake, b ? "IOMMU_IOAS_MAP" : "VFIO_IOMMU_MAP_DMA", 3, EFAULT);
		opts.width = 1;
		assert_fails(vfb_space_map(host.space, ranges, 1024, &opts), -EFAULT, "cannot map");
		opts.width = 0;
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_int_equal(info_of(host.space).mappings, 0);
		free(ranges);
		host_end(&host, device, memory);
	}
}

/* After a measurement a plan estimates the time, and mapping takes about that long. */
static void test_time(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = GIB, .iova = GIB};
		struct vfb_map_plan plan, half;
		struct vfb_device *device;
		struct host host;
		uint64_t took;

		host_ready(&host, NULL, backends[b], 2);
		range.memory = make_memory(&host, GIB, VFB_PAGE_4K);
		plan = plan_of(&host, &range, 1, NULL);
		assert_true(plan.populate_ns == UINT64_MAX && plan.map_ns == UINT64_MAX);
		assert_ok(vfb_backend_measure(host.ctx, addresses[1], VFB_PAGE_4K,
					      VFB_MEMORY_ANONYMOUS));
		open_devices(&host, 1, &device);
		range.bytes = GIB / 2;
		half = plan_of(&host, &range, 1, NULL);
		range.bytes = GIB;
		plan = plan_of(&host, &range, 1, NULL);
		assert_true(half.populate_ns && half.map_ns);
		assert_in_range(plan.populate_ns, 2 * half.populate_ns - 2,
				2 * half.populate_ns + 2);
		assert_in_range(plan.map_ns, 2 * half.map_ns - 2, 2 * half.map_ns + 2);
		took = fake_now(host.fake);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		took = fake_now(host.fake) - took;
		assert_in_range(took, plan.populate_ns / 2, (plan.populate_ns + plan.map_ns) * 2);
		/* What is populated takes no time; other pages were not measured. */
		assert_ok(vfb_space_unmap_all(host.space));
		half = plan_of(&host, &range, 1, NULL);
		assert_int_equal(half.populate_ns, 0);
		assert_int_equal(half.map_ns, plan.map_ns);
		took = fake_now(host.fake);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		took = fake_now(host.fake) - took;
		assert_in_range(took, plan.map_ns / 2, plan.map_ns * 2);
		assert_ok(vfb_space_unmap_all(host.space));
		assert_ok(vfb_memory_destroy(range.memory));
		range.memory = make_memory(&host, GIB, VFB_PAGE_THP);
		plan = plan_of(&host, &range, 1, NULL);
		assert_true(plan.populate_ns == UINT64_MAX && plan.map_ns == UINT64_MAX);
		host_end(&host, device, range.memory);
	}
}

/* Nothing is changed by a plan, whatever it says. */
static void test_dry(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct vfb_range ranges[2];
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
		ranges[0] = (struct vfb_range){.memory = memory, .bytes = 32 * MIB, .iova = GIB};
		ranges[1] = ranges[0];
		assert_fails(vfb_space_map_plan(host.space, ranges, 2, NULL, &plan), -EEXIST,
			     "another entry");
		ranges[1].iova = 0xfee00000;
		assert_fails(vfb_space_map_plan(host.space, ranges, 2, NULL, &plan), -EINVAL,
			     "entry 1", "outside");
		assert_int_equal(ranges[1].status, -EINVAL);
		ranges[1].flags = VFB_RANGE_ANY_IOVA;
		ranges[1].offset = 32 * MIB;
		assert_int_equal(plan_of(&host, ranges, 2, NULL).map_calls, b ? 4 : 2);
		assert_int_equal(info_of(host.space).mappings, 0);
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		assert_int_equal(stats_of(&host).map_calls, b ? 4 : 2);
		ranges[0].iova += 32 * MIB;
		assert_int_equal(plan_of(&host, ranges, 1, NULL).populate_bytes, 0);
		ranges[0].iova -= 32 * MIB;
		assert_ok(vfb_space_unmap(host.space, ranges, 2, NULL));
		host_end(&host, device, memory);
	}
}

/* Many 2 MiB pages, from an offset that is none: no huge page is torn between two calls. */
static void test_congruence(void **state)
{
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range range;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	memory = make_memory(&host, 512 * MIB, VFB_PAGE_4K);
	range = (struct vfb_range){.memory = memory,
				   .offset = MIB,
				   .bytes = 510 * MIB,
				   .iova = GIB + MIB};
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	for (uint64_t iova = GIB + 2 * MIB; iova < GIB + 510 * MIB; iova += 2 * MIB) {
		struct fake_iova found;

		fake_iova(host.fake, FAKE_ANY_SPACE, iova, 2 * MIB, &found);
		assert_int_equal(found.entries, 1);
	}
	assert_true(stats_of(&host).map_calls > 4);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	host_end(&host, device, memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_70000),	      cmocka_unit_test(test_joined_again),
		cmocka_unit_test(test_too_many_kept), cmocka_unit_test(test_coalesce),
		cmocka_unit_test(test_time),	      cmocka_unit_test(test_dry),
		cmocka_unit_test(test_congruence),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
