/* SPDX-License-Identifier: MIT */
/* All or nothing, or best effort: what a batch keeps when some of its entries fail. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};
static const struct vfb_batch_opts best_effort = {
	.size = sizeof(best_effort),
	.flags = VFB_BATCH_BEST_EFFORT,
};

#define MAPS 6

/* Good ones at 0, 2 and 5; 1 is empty, 3 overlaps 2, 4 is outside of the valid IOVAs. */
static void fill_ranges(struct vfb_range *ranges, struct vfb_memory *memory)
{
	for (uint64_t i = 0; i < MAPS; i++)
		ranges[i] = (struct vfb_range){
			.memory = memory,
			.offset = i * 64 * MIB,
			.bytes = 64 * MIB,
			.iova = (i + 4) * GIB,
		};
	ranges[1].bytes = 0;
	ranges[3].iova = ranges[2].iova + 32 * MIB;
	ranges[4].iova = UINT64_C(1) << 60;
	ranges[5].flags = VFB_RANGE_ANY_IOVA;
}

static void test_map(void **state)
{
	static const int expected[MAPS] = {0, -EINVAL, 0, -EEXIST, -EINVAL, 0};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[MAPS];
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, MAPS * 64 * MIB, VFB_PAGE_4K);
		fill_ranges(ranges, memory);
		/* All or nothing: the first that can be seen to be wrong. */
		assert_fails(vfb_space_map(host.space, ranges, MAPS, NULL), -EINVAL, "entry 1",
			     "empty");
		for (size_t i = 0; i < MAPS; i++)
			assert_int_equal(ranges[i].status, i == 1 ? -EINVAL : -ECANCELED);
		assert_int_equal(info_of(host.space).mappings, 0);
		assert_int_equal(stats_of(&host).map_calls, 0);

		assert_fails(vfb_space_map(host.space, ranges, MAPS, &best_effort), -EINVAL,
			     "entry 1", "empty");
		for (size_t i = 0; i < MAPS; i++) {
			assert_int_equal(ranges[i].status, expected[i]);
			if (!expected[i])
				assert_mapped(&host, &ranges[i]);
		}
		assert_int_equal(info_of(host.space).mappings, 3);
		assert_int_equal(stats_of(&host).mapped_bytes, 3 * 64 * MIB);
		host_end(&host, device, memory);
	}
}

/* The kernel refuses one of the maps when others are in. */
static void test_kernel_refuses(void **state)
{
	static const char *const calls[] = {"VFIO_IOMMU_MAP_DMA", "IOMMU_IOAS_MAP"};

	(void)state;
	for (size_t b = 0; b < 4; b++) {
		bool best = b >= 2;
		struct vfb_range ranges[4] = {0};
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct host host;
		size_t failed = 0;

		host_start(&host, NULL, backends[b % 2], 1, &device);
		memory = make_memory(&host, 4 * 256 * MIB, VFB_PAGE_4K);
		for (uint64_t i = 0; i < 4; i++)
			ranges[i] = (struct vfb_range){
				.memory = memory,
				.offset = i * 256 * MIB,
				.bytes = 256 * MIB,
				.iova = (i + 4) * GIB,
			};
		fake_fail_call(host.fake, calls[b % 2], 3, EFAULT);
		assert_fails(vfb_space_map(host.space, ranges, 4, best ? &best_effort : NULL),
			     -EFAULT, "cannot map", "IOVA");
		for (size_t i = 0; i < 4; i++) {
			if (!ranges[i].status)
				assert_mapped(&host, &ranges[i]);
			else if (ranges[i].status != -ECANCELED)
				assert_int_equal(ranges[i].status, -EFAULT);
			failed += ranges[i].status == -EFAULT;
			if (!best)
				assert_int_not_equal(ranges[i].status, 0);
		}
		assert_int_equal(failed, 1);
		assert_int_equal(info_of(host.space).mappings, best ? 3 : 0);
		assert_int_equal(stats_of(&host).mapped_bytes, best ? 3 * 256 * MIB : 0);
		/* What failed can be mapped now. */
		for (size_t i = 0; i < 4; i++)
			if (ranges[i].status)
				assert_ok(vfb_space_map(host.space, &ranges[i], 1, NULL));
		assert_int_equal(stats_of(&host).mapped_bytes, 4 * 256 * MIB);
		assert_ok(vfb_space_unmap(host.space, ranges, 4, NULL));
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/*
 * Ranges that are joined fail together, whichever of them does, of mapping in blocks or of
 * populating; others stay.
 */
static void test_joined_fails(void **state)
{
	static const char *const calls[] = {"VFIO_IOMMU_MAP_DMA", "IOMMU_IOAS_MAP", "madvise",
					    "madvise"};
	struct vfb_batch_opts opts = best_effort;

	(void)state;
	opts.flags |= VFB_BATCH_COALESCE;
	for (unsigned int i = 0; i < 4 * 9; i++) {
		size_t b = i % 4;
		struct vfb_space_opts blocks = {.size = sizeof(blocks),
						.backend = backends[b % 2],
						.block_bytes = 64 * MIB};
		struct vfb_range ranges[4] = {0};
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct host host;
		size_t kept = 0;

		host_open(&host, NULL);
		add_devices(host.fake, 1);
		assert_ok(vfb_space_create(host.ctx, &blocks, &host.space));
		open_devices(&host, 1, &device);
		memory = make_memory(&host, 4 * 128 * MIB, VFB_PAGE_4K);
		/* Three neighbours, and one elsewhere. */
		for (uint64_t n = 0; n < 4; n++)
			ranges[n] = (struct vfb_range){
				.memory = memory,
				.offset = n * 128 * MIB,
				.bytes = 128 * MIB,
				.iova = (n < 3 ? 4 : 8) * GIB + n * 128 * MIB,
			};
		fake_fail_call(host.fake, calls[b], 1 + i / 4, EFAULT);
		vfb_space_map(host.space, ranges, 4, &opts);
		assert_int_equal(ranges[1].status, ranges[0].status);
		assert_int_equal(ranges[2].status, ranges[0].status);
		for (size_t n = 0; n < 4; n++) {
			kept += !ranges[n].status;
			if (!ranges[n].status)
				assert_mapped(&host, &ranges[n]);
		}
		assert_int_equal(info_of(host.space).mappings, kept);
		assert_int_equal(stats_of(&host).mapped_bytes, kept * 128 * MIB);
		/* What failed can be mapped now. */
		for (size_t n = 0; n < 4; n++)
			if (ranges[n].status)
				assert_ok(vfb_space_map(host.space, &ranges[n], 1, NULL));
		assert_int_equal(stats_of(&host).mapped_bytes, 4 * 128 * MIB);
		assert_ok(vfb_space_unmap(host.space, ranges, 4, NULL));
		host_end(&host, device, memory);
	}
}

/* The node has memory for one of two. */
static void test_out_of_memory(void **state)
{
	struct fake_config config = {.memory = {300 * MIB}};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[2] = {0};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, backends[b], 1, &device);
		for (size_t i = 0; i < 2; i++) {
			ranges[i].memory = make_memory(&host, 200 * MIB, VFB_PAGE_4K);
			ranges[i].bytes = 200 * MIB;
			ranges[i].iova = i * GIB;
		}
		assert_ok(vfb_memory_populate(ranges[0].memory));
		assert_fails(vfb_space_map(host.space, ranges, 2, &best_effort), -ENOMEM,
			     "memory ran out", "the host has 300 MiB");
		assert_int_equal(ranges[0].status, 0);
		assert_int_equal(ranges[1].status, -ENOMEM);
		assert_mapped(&host, &ranges[0]);
		assert_int_equal(stats_of(&host).mapped_bytes, 200 * MIB);
		assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
		vfb_device_close(device);
		for (size_t i = 0; i < 2; i++)
			assert_ok(vfb_memory_destroy(ranges[i].memory));
		host_close(&host);
	}
}

/* However little is left, threads that populate side by side do not use it twice. */
static void test_last_bytes(void **state)
{
	(void)state;
	for (uint64_t size = 64 * MIB; size < 72 * MIB; size += 256 * KIB) {
		struct fake_config config = {.memory = {size}, .cpus_per_node = 8};
		struct vfb_range range = {.bytes = 400 * MIB, .iova = GIB};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
		range.memory = make_memory(&host, 400 * MIB, VFB_PAGE_4K);
		assert_fails(vfb_space_map(host.space, &range, 1, &best_effort), -ENOMEM,
			     "memory ran out");
		host_end(&host, device, range.memory);
	}
}

#define DEVICES 5

static void test_devices(void **state)
{
	static const char *const names[DEVICES] = {"0000:01:00.0", "0000:09:00.0", "0000:02:00.0",
						   "0000:03:00.0", "0000:04:00.0"};
	static const int expected[DEVICES] = {0, -ENODEV, 0, -ENXIO, 0};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device_request requests[DEVICES] = {0};
		struct vfb_device *devices[DEVICES];
		struct host host;

		host_open(&host, NULL);
		add_devices(host.fake, 4);
		fake_add_device(host.fake, &(struct fake_device){.address = "0000:03:00.0",
								 .group = 3,
								 .bridge = "0000:00:03.0",
								 .driver = "nvme"});
		host_space(&host, backends[b]);
		for (size_t i = 0; i < DEVICES; i++)
			requests[i].address = names[i];
		assert_fails(vfb_devices_open(host.space, requests, DEVICES, NULL), -ENODEV,
			     "0000:09:00.0");
		for (size_t i = 0; i < DEVICES; i++) {
			assert_null(requests[i].device);
			assert_int_equal(requests[i].status, i == 1 ? -ENODEV : -ECANCELED);
		}
		assert_fails(vfb_devices_open(host.space, requests, DEVICES, &best_effort), -ENODEV,
			     "0000:09:00.0");
		for (size_t i = 0; i < DEVICES; i++) {
			assert_int_equal(requests[i].status, expected[i]);
			assert_true(!requests[i].device == !!expected[i]);
			devices[i] = requests[i].device;
		}
		assert_int_equal(info_of(host.space).devices, 3);
		/* NULL entries are passed over. */
		close_devices(devices, DEVICES);
		assert_int_equal(info_of(host.space).devices, 0);
		host_close(&host);
	}
}

/* One reset fails: the others are closed again, or stay. */
static void test_device_fails(void **state)
{
	static const char *const calls[] = {"VFIO_GROUP_GET_DEVICE_FD",
					    "VFIO_DEVICE_ATTACH_IOMMUFD_PT"};

	(void)state;
	for (size_t b = 0; b < 4; b++) {
		bool best = b >= 2;
		struct vfb_device_request requests[4] = {0};
		struct vfb_device *devices[4];
		size_t failed = 0;
		struct host host;

		host_ready(&host, NULL, backends[b % 2], 4);
		for (size_t i = 0; i < 4; i++)
			requests[i].address = addresses[i];
		fake_fail_call(host.fake, calls[b % 2], 3, EIO);
		assert_fails(vfb_devices_open(host.space, requests, 4, best ? &best_effort : NULL),
			     -EIO, "device 0000:0");
		for (size_t i = 0; i < 4; i++) {
			struct fake_device_stats stats;

			devices[i] = requests[i].device;
			assert_true(!devices[i] == !!requests[i].status);
			failed += requests[i].status == -EIO;
			fake_device_stats(host.fake, addresses[i], &stats);
			assert_int_equal(stats.opens, devices[i] ? 1 : 0);
			if (!best)
				assert_null(devices[i]);
		}
		assert_int_equal(failed, 1);
		assert_int_equal(info_of(host.space).devices, best ? 3 : 0);
		assert_int_equal(stats_of(&host).skipped_resets, 0);
		close_devices(devices, 4);
		open_devices(&host, 4, devices);
		close_devices(devices, 4);
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),	      cmocka_unit_test(test_kernel_refuses),
		cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_last_bytes),
		cmocka_unit_test(test_devices),	      cmocka_unit_test(test_device_fails),
		cmocka_unit_test(test_joined_fails),
	};

	return cmocka_run_group_tests_name("best effort", tests, NULL, NULL);
}
