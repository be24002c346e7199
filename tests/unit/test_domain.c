/* SPDX-License-Identifier: MIT */
/* What is mapped stays mapped for the caller, though the kernel's domain comes and goes. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define RANGES 3

/* A memory and three ranges of it, one with an IOVA of the library's choice. */
static struct vfb_memory *map_ranges(struct host *host, struct vfb_range *ranges)
{
	struct vfb_memory *memory = make_memory(host, RANGES * 64 * MIB, VFB_PAGE_4K);

	for (uint64_t i = 0; i < RANGES; i++)
		ranges[i] = (struct vfb_range){
			.memory = memory,
			.offset = i * 64 * MIB,
			.bytes = 64 * MIB,
			.iova = (i + 4) * GIB,
			.flags = i == 1 ? VFB_RANGE_ANY_IOVA :
				 i == 2 ? VFB_RANGE_READ :
					  0,
		};
	assert_ok(vfb_space_map(host->space, ranges, RANGES, NULL));
	return memory;
}

static void assert_all_mapped(struct host *host, const struct vfb_range *ranges)
{
	struct fake_iova found;

	for (size_t i = 0; i < RANGES; i++) {
		assert_mapped(host, &ranges[i]);
		fake_iova(host->fake, FAKE_ANY_SPACE, ranges[i].iova, ranges[i].bytes, &found);
		assert_true(found.readable);
		assert_int_equal(found.writable, i != 2);
	}
}

/* type1 loses its mappings with the last device, iommufd only what is pinned. */
static void test_open_again(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[RANGES];
		struct vfb_device *devices[2];
		struct vfb_memory *memory;
		unsigned int populates;
		struct host host;

		host_start(&host, NULL, backends[b], 2, devices);
		memory = map_ranges(&host, ranges);
		assert_all_mapped(&host, ranges);
		populates = stats_of(&host).populate_calls;
		vfb_device_close(devices[0]);
		assert_all_mapped(&host, ranges);
		vfb_device_close(devices[1]);
		assert_int_equal(stats_of(&host).pinned_bytes, 0);
		assert_int_equal(info_of(host.space).mappings, RANGES);
		assert_fails(vfb_memory_destroy(memory), -EBUSY, "3 ranges");
		for (int again = 0; again < 2; again++) {
			open_devices(&host, 2, devices);
			assert_all_mapped(&host, ranges);
			assert_int_equal(info_of(host.space).mappings, RANGES);
			close_devices(devices, 2);
		}
		assert_int_equal(stats_of(&host).populate_calls, populates);
		open_devices(&host, 1, devices);
		assert_ok(vfb_space_unmap(host.space, ranges, RANGES, NULL));
		assert_int_equal(stats_of(&host).mappings, 0);
		vfb_device_close(devices[0]);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/* Without a device what was mapped can be unmapped; it does not come back. */
static void test_unmap_meanwhile(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[RANGES];
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = map_ranges(&host, ranges);
		vfb_device_close(device);
		assert_ok(vfb_space_unmap(host.space, &ranges[1], 1, NULL));
		assert_int_equal(info_of(host.space).mappings, RANGES - 1);
		assert_fails(vfb_space_unmap(host.space, &ranges[1], 1, NULL), -ENOENT, "entry 0");
		open_devices(&host, 1, &device);
		assert_mapped(&host, &ranges[0]);
		assert_mapped(&host, &ranges[2]);
		assert_not_mapped(&host, ranges[1].iova);
		/* Its IOVA can be had again. */
		assert_ok(vfb_space_map(host.space, &ranges[1], 1, NULL));
		assert_all_mapped(&host, ranges);
		host_end(&host, device, memory);
	}
}

/* Restoring fails half-way: the device is not open, the next one finds everything. */
static void test_restore_fails(void **state)
{
	struct vfb_range ranges[RANGES];
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	memory = map_ranges(&host, ranges);
	vfb_device_close(device);
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 2, EFAULT);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EFAULT, "cannot map");
	assert_null(device);
	assert_int_equal(info_of(host.space).devices, 0);
	assert_int_equal(info_of(host.space).mappings, RANGES);
	assert_int_equal(stats_of(&host).mappings, 0);
	open_devices(&host, 1, &device);
	assert_all_mapped(&host, ranges);
	host_end(&host, device, memory);
}

/* The last device goes while memory is being mapped: it waits, and nothing hangs. */
static void test_close_while_mapping(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = 4 * GIB, .iova = 4 * GIB};
		struct vfb_job *map, *close;
		struct vfb_device *device;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
		host.sys->sleep(host.sys, 20 * MS);
		assert_ok(vfb_devices_close_start(&device, 1, NULL, &close));
		assert_ok(vfb_job_wait(close, UINT64_MAX));
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		vfb_job_destroy(map);
		vfb_job_destroy(close);
		assert_int_equal(info_of(host.space).mappings, 1);
		open_devices(&host, 1, &device);
		assert_mapped(&host, &range);
		host_end(&host, device, range.memory);
	}
}

/* The kernel will not undo a map: it stays known, and can be unmapped later. */
static void test_undo_fails(void **state)
{
	static const char *const maps[] = {"VFIO_IOMMU_MAP_DMA", "IOMMU_IOAS_MAP"};
	static const char *const unmaps[] = {"VFIO_IOMMU_UNMAP_DMA", "IOMMU_IOAS_UNMAP"};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_batch_opts opts = {.size = sizeof(opts), .width = 1};
		struct vfb_range ranges[2] = {0};
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, 128 * MIB, VFB_PAGE_4K);
		for (uint64_t i = 0; i < 2; i++)
			ranges[i] = (struct vfb_range){.memory = memory,
						       .offset = i * 64 * MIB,
						       .bytes = 64 * MIB,
						       .iova = (i + 4) * GIB};
		fake_fail_call(host.fake, maps[b], 2, EFAULT);
		fake_fail_call(host.fake, unmaps[b], 1, EBUSY);
		assert_fails(vfb_space_map(host.space, ranges, 2, &opts), -EFAULT, "cannot map");
		assert_int_equal(ranges[0].status, -ECANCELED);
		assert_int_equal(stats_of(&host).mapped_bytes, 64 * MIB);
		/* Nobody else gets its IOVA, nor is its memory given back. */
		assert_fails(vfb_space_map(host.space, ranges, 1, NULL), -EEXIST, "is mapped");
		assert_fails(vfb_memory_destroy(memory), -EBUSY, "unmap");
		assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		host_end(&host, device, memory);
	}
}

/* An unmap that fails leaves it mapped, and can be repeated. */
static void test_unmap_fails(void **state)
{
	static const char *const unmaps[] = {"VFIO_IOMMU_UNMAP_DMA", "IOMMU_IOAS_UNMAP"};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[RANGES];
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;
		size_t failed = 0;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = map_ranges(&host, ranges);
		fake_fail_call(host.fake, unmaps[b], 2, EBUSY);
		assert_fails(vfb_space_unmap(host.space, ranges, RANGES, NULL), -EBUSY,
			     "cannot unmap");
		for (size_t i = 0; i < RANGES; i++)
			failed += ranges[i].status == -EBUSY;
		assert_int_equal(failed, 1);
		assert_int_equal(info_of(host.space).mappings, 1);
		assert_fails(vfb_memory_destroy(memory), -EBUSY, "1 ranges");
		for (size_t i = 0; i < RANGES; i++)
			if (ranges[i].status)
				assert_ok(vfb_space_unmap(host.space, &ranges[i], 1, NULL));
		assert_int_equal(stats_of(&host).mappings, 0);
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_again),    cmocka_unit_test(test_unmap_meanwhile),
		cmocka_unit_test(test_restore_fails), cmocka_unit_test(test_close_while_mapping),
		cmocka_unit_test(test_undo_fails),    cmocka_unit_test(test_unmap_fails),
	};

	return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}
