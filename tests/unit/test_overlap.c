/* SPDX-License-Identifier: MIT */
/*
 * Populating, mapping and the opening of devices overlap, on the right nodes and with the calls
 * that each backend gains from: on the virtual clock, with the costs of the fake.
 */
#include "host.h"

#define ZERO_GIB (250 * MS)
#define PIN_GIB	 (20 * MS)
#define RESET	 (100 * MS)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* Memory and 4 devices started together: how long it takes. */
static uint64_t start_guest(enum vfb_backend backend, uint64_t bytes, struct fake_stats *stats)
{
	struct vfb_device_request requests[4] = {0};
	struct vfb_job *open, *map;
	struct vfb_device *devices[4];
	struct vfb_range range = {.bytes = bytes, .iova = 4 * GIB};
	struct host host;
	uint64_t time;

	host_ready(&host, NULL, backend, 4);
	range.memory = make_memory(&host, bytes, VFB_PAGE_4K);
	for (size_t i = 0; i < 4; i++)
		requests[i].address = addresses[i];
	time = fake_now(host.fake);
	assert_ok(vfb_devices_open_start(host.space, requests, 4, NULL, &open));
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
	assert_ok(vfb_job_wait(open, UINT64_MAX));
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	time = fake_now(host.fake) - time;
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	assert_mapped(&host, &range);
	*stats = stats_of(&host);
	assert_int_equal(stats->populated_bytes, bytes);
	assert_int_equal(stats->populated_by_map_bytes, 0);
	for (size_t i = 0; i < 4; i++)
		devices[i] = requests[i].device;
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	close_devices(devices, 4);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
	return time;
}

/* The memory is ready before the devices: what is left is to map what waited. */
static void test_devices_slower(void **state)
{
	struct fake_stats stats;

	(void)state;
	/* type1 has its domain before the devices are reset, and maps meanwhile. */
	assert_in_range(start_guest(VFB_BACKEND_TYPE1, GIB / 2, &stats), RESET, RESET + MS);
	assert_in_range(start_guest(VFB_BACKEND_IOMMUFD, GIB / 2, &stats), RESET,
			RESET + PIN_GIB / 2 / 4 + 2 * MS);
	assert_true(stats.max_maps_in_flight > 1);
}

/* The devices are ready long before the memory is zeroed, by 4 CPUs. */
static void test_memory_slower(void **state)
{
	uint64_t bytes = 16 * GIB, zero = 16 * ZERO_GIB / 4, serial = 16 * (ZERO_GIB + PIN_GIB);
	struct fake_stats stats;
	uint64_t time;

	(void)state;
	/* One of them maps what the others have populated, in a few parts. */
	time = start_guest(VFB_BACKEND_TYPE1, bytes, &stats);
	assert_in_range(time, zero, zero + 16 * PIN_GIB * 3 / 4);
	assert_true(time < serial / 2);
	assert_int_equal(stats.max_maps_in_flight, 1);
	assert_in_range(stats.map_calls, 8, 17);
	/* Here each maps what it has populated. */
	time = start_guest(VFB_BACKEND_IOMMUFD, bytes, &stats);
	assert_in_range(time, zero, zero + 16 * PIN_GIB / 4 + 2 * RESET);
	assert_true(stats.max_maps_in_flight > 1);
	assert_true(stats.map_calls > 1);
}

/* No thread of the process waits long for mmap_lock. */
static void test_steps(void **state)
{
	struct fake_stats stats;

	(void)state;
	start_guest(VFB_BACKEND_IOMMUFD, GIB, &stats);
	assert_true(stats.max_populate_bytes <= 2 * MIB);
	assert_int_equal(stats.max_populates_in_flight, 4);
}

/* Pages of a node are zeroed by that node's CPUs, and none elsewhere. */
static void test_nodes(void **state)
{
	struct fake_config config = {.nodes = 2, .cpus_per_node = 2, .pages_2m = {128, 128}};
	uint64_t bytes[2];

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (unsigned int node = 0; node < 2; node++) {
			struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
			struct vfb_range range = {.bytes = 256 * MIB};
			struct vfb_device *device;
			struct host host;

			host_start(&host, &config, backends[i], 1, &device);
			opts.bytes = range.bytes;
			opts.page_size = node ? VFB_PAGE_2M : VFB_PAGE_4K;
			opts.policy = node ? VFB_NUMA_BIND : VFB_NUMA_PREFERRED;
			opts.nodes = &node;
			opts.node_count = 1;
			assert_ok(vfb_memory_create(host.ctx, &opts, &range.memory));
			assert_ok(vfb_space_map(host.space, &range, 1, NULL));
			assert_int_equal(fake_zeroed_by(host.fake, node, node), range.bytes);
			assert_int_equal(vfb_memory_nodes(range.memory, bytes, 2), 2);
			assert_int_equal(bytes[node], range.bytes);
			assert_int_equal(bytes[!node], 0);
			host_end(&host, device, range.memory);
		}
}

/* Bound to two nodes, both work, each for itself. */
static void test_two_nodes(void **state)
{
	struct fake_config config = {.nodes = 2, .cpus_per_node = 2, .pages_2m = {512, 512}};
	static const unsigned int nodes[] = {0, 1};
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = GIB,
		.page_size = VFB_PAGE_2M,
		.policy = VFB_NUMA_INTERLEAVE,
		.nodes = nodes,
		.node_count = 2,
	};
	struct vfb_memory *memory;
	uint64_t bytes[2], begin;
	struct host host;

	(void)state;
	host_open(&host, &config);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	begin = fake_now(host.fake);
	assert_ok(vfb_memory_populate(memory));
	assert_in_range(fake_now(host.fake) - begin, ZERO_GIB / 4 - MS, ZERO_GIB / 4 + 10 * MS);
	assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
	assert_int_equal(bytes[0], GIB / 2);
	assert_int_equal(bytes[1], GIB / 2);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* As a program without the library would do it: one call for each range, one after another. */
static void test_width_1(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .width = 1};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_range ranges[3];
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct host host;
		uint64_t time;

		host_start(&host, NULL, backends[i], 1, &device);
		memory = make_memory(&host, 3 * GIB, VFB_PAGE_4K);
		for (uint64_t n = 0; n < 3; n++)
			ranges[n] = (struct vfb_range){.memory = memory,
						       .offset = n * GIB,
						       .bytes = GIB,
						       .iova = 4 * GIB + n * 8 * GIB};
		time = fake_now(host.fake);
		assert_ok(vfb_space_map(host.space, ranges, 3, &opts));
		time = fake_now(host.fake) - time;
		assert_in_range(time, 3 * (ZERO_GIB + PIN_GIB), 3 * (ZERO_GIB + PIN_GIB) + MS);
		assert_int_equal(stats_of(&host).map_calls, 3);
		assert_int_equal(stats_of(&host).mappings, 3);
		assert_int_equal(stats_of(&host).max_populates_in_flight, 1);
		assert_int_equal(stats_of(&host).max_maps_in_flight, 1);
		assert_ok(vfb_space_unmap(host.space, ranges, 3, &opts));
		assert_int_equal(stats_of(&host).unmap_calls, 3);
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/* What is populated is mapped as it is: few calls for type1, many at once for iommufd. */
static void test_populated(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_range range = {.bytes = 4 * GIB, .iova = 4 * GIB};
		struct vfb_device *device;
		struct fake_stats stats;
		unsigned int populates;
		struct host host;
		uint64_t time;

		host_start(&host, NULL, backends[i], 1, &device);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_THP);
		assert_ok(vfb_memory_populate(range.memory));
		assert_int_equal(populated_of(range.memory), range.bytes);
		populates = stats_of(&host).populate_calls;
		/* A second time costs nothing. */
		assert_ok(vfb_memory_populate(range.memory));
		time = fake_now(host.fake);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		time = fake_now(host.fake) - time;
		stats = stats_of(&host);
		assert_int_equal(stats.populate_calls, populates);
		assert_int_equal(stats.populated_bytes, range.bytes);
		assert_mapped(&host, &range);
		if (backends[i] == VFB_BACKEND_TYPE1) {
			assert_int_equal(stats.map_calls, 1);
			assert_in_range(time, 4 * PIN_GIB, 4 * PIN_GIB + MS);
		} else {
			assert_int_equal(stats.max_maps_in_flight, 4);
			assert_in_range(time, PIN_GIB, PIN_GIB + 2 * MS);
		}
		time = fake_now(host.fake);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		time = fake_now(host.fake) - time;
		assert_true(time <= (backends[i] == VFB_BACKEND_TYPE1 ? 41 : 12) * MS);
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* By file, huge pages that are populated are mapped sooner by one worker than by several. */
static void test_by_file(void **state)
{
	struct fake_config config = {.pages_2m = {256}};

	(void)state;
	for (int by_file = 0; by_file < 2; by_file++) {
		struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
		struct vfb_range range = {.bytes = 512 * MIB, .iova = 4 * GIB};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
		opts.bytes = range.bytes;
		opts.page_size = VFB_PAGE_2M;
		opts.kind = by_file ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
		assert_ok(vfb_memory_create(host.ctx, &opts, &range.memory));
		assert_ok(vfb_memory_populate(range.memory));
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_mapped(&host, &range);
		if (by_file)
			assert_int_equal(stats_of(&host).max_maps_in_flight, 1);
		else
			assert_int_equal(stats_of(&host).max_maps_in_flight, 4);
		/* Unmapped they are side by side all the same. */
		assert_true(stats_of(&host).map_calls > 1);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* Ranges that do not begin at a multiple of 2 MiB are populated once, too. */
static void test_odd_offset(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_range range = {.offset = 4 * KIB,
					  .bytes = 100 * MIB + 12 * KIB,
					  .iova = GIB + 4 * KIB};
		struct vfb_device *device;
		struct host host;

		host_start(&host, NULL, backends[i], 1, &device);
		range.memory = make_memory(&host, 104 * MIB, VFB_PAGE_4K);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_mapped(&host, &range);
		assert_int_equal(stats_of(&host).populated_bytes, range.bytes);
		assert_int_equal(stats_of(&host).populated_by_map_bytes, 0);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* A range that waits for its devices is not populated again when they have come. */
static void test_once(void **state)
{
	struct vfb_range range = {.offset = 4 * KIB, .bytes = 64 * MIB, .iova = GIB};
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_job *open, *map;
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_IOMMUFD, 1);
	range.memory = make_memory(&host, 66 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	/* 4 pieces of 9 steps: 4 KiB more or less at both ends. */
	assert_true(stats_of(&host).populate_calls <= 4 * 9);
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	vfb_device_close(request.device);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices_slower), cmocka_unit_test(test_memory_slower),
		cmocka_unit_test(test_steps),	       cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_two_nodes),      cmocka_unit_test(test_width_1),
		cmocka_unit_test(test_populated),      cmocka_unit_test(test_odd_offset),
		cmocka_unit_test(test_once),	       cmocka_unit_test(test_by_file),
	};

	return cmocka_run_group_tests_name("overlap", tests, NULL, NULL);
}
