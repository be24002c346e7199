/* SPDX-License-Identifier: MIT */
/* type1: ranges that have to be populated are mapped in parts, behind the workers that populate. */
#include "host.h"

static const enum vfb_page_size page_sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP};

/* A range of 2 GiB, a neighbour of 1 GiB and one apart. */
static void make_ranges(struct vfb_memory *memory, struct vfb_range *ranges)
{
	ranges[0] = (struct vfb_range){.memory = memory, .bytes = 2 * GIB, .iova = 8 * GIB};
	ranges[1] = (struct vfb_range){
		.memory = memory,
		.offset = 2 * GIB,
		.bytes = GIB,
		.iova = 10 * GIB,
	};
	ranges[2] = (struct vfb_range){
		.memory = memory,
		.offset = 3 * GIB + 12 * KIB,
		.bytes = GIB - 12 * KIB,
		.iova = 20 * GIB,
	};
}

static uint64_t planned_calls(struct host *host, struct vfb_range *ranges, size_t count)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;

	assert_ok(vfb_space_map_plan(host->space, ranges, count, NULL, &plan));
	return plan.map_calls;
}

static void assert_all_mapped(struct host *host, struct vfb_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(ranges[i].status, 0);
		assert_mapped(host, &ranges[i]);
	}
}

/* Each can be unmapped alone, by one call, and the kernel's mappings are free again. */
static void test_unmap(void **state)
{
	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(page_sizes); p++) {
		struct vfb_range ranges[3];
		struct vfb_memory *memory;
		struct vfb_device *device;
		uint64_t left, calls;
		struct host host;

		host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
		memory = make_memory(&host, 4 * GIB, page_sizes[p]);
		make_ranges(memory, ranges);
		left = info_of(host.space).entries_left;
		calls = planned_calls(&host, ranges, 3);
		/* Large pages are mapped so soon that parts would gain nothing. */
		assert_in_range(calls, p ? 3 : 3 * 8, p ? 3 : 3 * 17);
		assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
		assert_all_mapped(&host, ranges, 3);
		assert_int_equal(info_of(host.space).mappings, 3);
		assert_int_equal(stats_of(&host).map_calls, calls);
		assert_int_equal(info_of(host.space).entries_left, left - calls);
		assert_int_equal(stats_of(&host).populated_by_map_bytes, 0);
		for (size_t i = 0; i < 3; i++)
			assert_ok(vfb_space_unmap(host.space, &ranges[i], 1, NULL));
		assert_int_equal(stats_of(&host).unmap_calls, 3);
		assert_int_equal(info_of(host.space).entries_left, left);
		/* What is populated is mapped as a whole. */
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		assert_int_equal(stats_of(&host).map_calls, calls + 2);
		host_end(&host, device, memory);
	}
}

/* Where the kernel has few mappings left, parts do not use them up. */
static void test_few_entries(void **state)
{
	struct fake_config config = {.dma_entry_limit = 100};
	struct vfb_range ranges[3];
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	make_ranges(memory, ranges);
	assert_int_equal(planned_calls(&host, ranges, 3), 3);
	assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
	assert_all_mapped(&host, ranges, 3);
	assert_int_equal(stats_of(&host).map_calls, 3);
	host_end(&host, device, memory);
}

/* Joined ranges are one mapping, and those of a memfd each one, so that they can be handed over. */
static void test_whole(void **state)
{
	struct vfb_memory_opts memfd = VFB_MEMORY_OPTS_INIT;
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range ranges[3];
	struct vfb_memory *memory, *shared;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	make_ranges(memory, ranges);
	opts.flags = VFB_BATCH_COALESCE;
	assert_ok(vfb_space_map(host.space, ranges, 2, &opts));
	assert_all_mapped(&host, ranges, 2);
	assert_int_equal(stats_of(&host).map_calls, 1);
	assert_ok(vfb_space_unmap(host.space, ranges, 2, NULL));
	memfd.bytes = 4 * GIB;
	memfd.page_size = VFB_PAGE_4K;
	memfd.kind = VFB_MEMORY_MEMFD;
	assert_ok(vfb_memory_create(host.ctx, &memfd, &shared));
	make_ranges(shared, ranges);
	assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
	assert_int_equal(stats_of(&host).map_calls, 1 + 3);
	assert_ok(vfb_space_unmap(host.space, ranges, 3, NULL));
	assert_ok(vfb_memory_destroy(shared));
	host_end(&host, device, memory);
}

/* Whichever call fails, of mapping or of populating, nothing stays mapped. */
static void test_failures(void **state)
{
	static const char *const calls[] = {"VFIO_IOMMU_MAP_DMA", "madvise"};

	(void)state;
	for (size_t c = 0; c < 2; c++)
		for (unsigned int nth = 1; nth <= 25; nth += 6) {
			struct vfb_range ranges[3];
			struct vfb_memory *memory;
			struct vfb_device *device;
			struct host host;

			host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
			memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
			make_ranges(memory, ranges);
			fake_fail_call(host.fake, calls[c], c ? 1 + nth / 7 : nth, EFAULT);
			assert_int_equal(vfb_space_map(host.space, ranges, 3, NULL),
					 c ? -ENOMEM : -EFAULT);
			assert_int_equal(info_of(host.space).mappings, 0);
			assert_int_equal(stats_of(&host).mappings, 0);
			assert_int_equal(info_of(host.space).entries_left, 65535);
			assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
			assert_all_mapped(&host, ranges, 3);
			host_end(&host, device, memory);
		}
}

/* With best effort, the failed range alone is undone, whatever was mapped of it. */
static void test_best_effort(void **state)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range ranges[3];
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct host host;
	size_t failed = 0;

	(void)state;
	opts.flags = VFB_BATCH_BEST_EFFORT;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	make_ranges(memory, ranges);
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 7, EFAULT);
	assert_int_equal(vfb_space_map(host.space, ranges, 3, &opts), -EFAULT);
	for (size_t i = 0; i < 3; i++) {
		failed += ranges[i].status == -EFAULT;
		if (!ranges[i].status)
			assert_mapped(&host, &ranges[i]);
		else
			assert_not_mapped(&host, ranges[i].iova);
	}
	assert_int_equal(failed, 1);
	assert_int_equal(info_of(host.space).mappings, 2);
	host_end(&host, device, memory);
}

/* The last node's memory is not mapped last because it comes last. */
static void test_nodes(void **state)
{
	struct fake_config config = {.nodes = 2, .cpus_per_node = 4};
	struct vfb_memory *memories[2];
	struct vfb_range ranges[2];
	struct vfb_device *device;
	uint64_t begin, populate = 0;
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
	for (int round = 0; round < 2; round++) {
		for (unsigned int node = 0; node < 2; node++) {
			struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

			opts.bytes = 4 * GIB;
			opts.page_size = VFB_PAGE_4K;
			opts.policy = VFB_NUMA_BIND;
			opts.nodes = &node;
			opts.node_count = 1;
			assert_ok(vfb_memory_create(host.ctx, &opts, &memories[node]));
			ranges[node] = (struct vfb_range){
				.memory = memories[node],
				.bytes = opts.bytes,
				.iova = (1 + node) * 8 * GIB,
			};
		}
		begin = fake_now(host.fake);
		if (round) {
			assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
			assert_in_range(fake_now(host.fake) - begin, populate, populate * 5 / 4);
			assert_ok(vfb_space_unmap(host.space, ranges, 2, NULL));
		} else {
			struct vfb_job *job;

			assert_ok(vfb_memory_populate_start(memories, 2, &job));
			assert_ok(vfb_job_wait(job, UINT64_MAX));
			vfb_job_destroy(job);
			populate = fake_now(host.fake) - begin;
		}
		for (size_t i = 0; i < 2; i++)
			assert_ok(vfb_memory_destroy(memories[i]));
	}
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

struct order {
	atomic_bool mapped, behind;
};

/* Whether a part was mapped before the last one had been populated. */
static void note_order(const struct vfb_event *event, void *data)
{
	struct order *order = data;

	if (event->phase == VFB_PHASE_MAP)
		order->mapped = true;
	else if (order->mapped)
		order->behind = true;
}

/*
 * Pinning takes mmap_lock for writing, and would stall MADV_POPULATE_WRITE, which is all that a
 * thread with a seccomp filter may use: then all maps come last.
 */
static void test_locks(void **state)
{
	(void)state;
	for (int filtered = 0; filtered < 2; filtered++) {
		struct fake_config config = {.has_filter = filtered};
		struct vfb_filter filter = VFB_FILTER_INIT;
		struct vfb_subscription *subscription;
		struct order order = {false, false};
		struct vfb_range ranges[3];
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
		memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
		make_ranges(memory, ranges);
		filter.phases = VFB_PHASE_BIT(VFB_PHASE_MAP) | VFB_PHASE_BIT(VFB_PHASE_POPULATE);
		assert_ok(vfb_subscribe(host.ctx, &filter, note_order, &order, &subscription));
		assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
		vfb_unsubscribe(subscription);
		assert_all_mapped(&host, ranges, 3);
		assert_int_equal(order.behind, !filtered);
		host_end(&host, device, memory);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unmap),	    cmocka_unit_test(test_few_entries),
		cmocka_unit_test(test_whole),	    cmocka_unit_test(test_failures),
		cmocka_unit_test(test_best_effort), cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_locks),
	};

	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
