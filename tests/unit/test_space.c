/* SPDX-License-Identifier: MIT */
/* Spaces: what they report, where ranges go, how they end. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* Before the first device, with devices, and after the last one. */
static void test_info(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[2] = {0};
		struct vfb_iova_range valid[2];
		struct vfb_device *devices[2];
		struct vfb_memory *memory;
		struct host host;

		host_ready(&host, NULL, backends[b], 2);
		assert_int_equal(vfb_space_iova_ranges(host.space, valid, 2), 1);
		assert_true(valid[0].first == 0 && valid[0].last == UINT64_MAX);
		assert_true(info_of(host.space).entries_left == UINT64_MAX);
		open_devices(&host, 2, devices);
		assert_int_equal(info_of(host.space).devices, 2);
		memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
		ranges[0] = (struct vfb_range){.memory = memory, .bytes = 32 * MIB};
		ranges[1] = (struct vfb_range){.memory = memory, .bytes = MIB, .iova = GIB};
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		assert_int_equal(info_of(host.space).mappings, 2);
		assert_int_equal(info_of(host.space).mapped_bytes, 33 * MIB);
		if (backends[b] == VFB_BACKEND_TYPE1)
			assert_int_equal(info_of(host.space).entries_left,
					 65535 - stats_of(&host).mappings);
		assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
		assert_int_equal(info_of(host.space).mappings, 1);
		assert_int_equal(info_of(host.space).mapped_bytes, MIB);
		assert_int_equal(vfb_space_iova_ranges(host.space, valid, 1), 2);
		assert_fails(vfb_space_destroy(host.space), -EBUSY, "devices are open");
		close_devices(devices, 2);
		assert_int_equal(vfb_space_iova_ranges(host.space, valid, 2), 1);
		assert_int_equal(info_of(host.space).devices, 0);
		/* What is still mapped goes with the space. */
		assert_fails(vfb_memory_destroy(memory), -EBUSY, "1 ranges");
		assert_ok(vfb_space_destroy(host.space));
		host.space = NULL;
		assert_ok(vfb_memory_destroy(memory));
		assert_ok(vfb_space_destroy(NULL));
		host_close(&host);
	}
}

static void test_flags(void **state)
{
	static const struct {
		uint32_t flags;
		bool read, write;
	} cases[] = {
		{0, true, true},
		{VFB_RANGE_READ, true, false},
		{VFB_RANGE_WRITE, false, true},
		{VFB_RANGE_READ | VFB_RANGE_WRITE, true, true},
		{VFB_RANGE_READ | VFB_RANGE_ANY_IOVA, true, false},
	};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[ARRAY_SIZE(cases)] = {0};
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, 16 * MIB, VFB_PAGE_4K);
		for (uint64_t i = 0; i < ARRAY_SIZE(cases); i++)
			ranges[i] = (struct vfb_range){.memory = memory,
						       .offset = i * MIB,
						       .bytes = MIB,
						       .iova = (i + 1) * GIB,
						       .flags = cases[i].flags};
		assert_ok(vfb_space_map(host.space, ranges, ARRAY_SIZE(cases), NULL));
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			struct fake_iova found;

			fake_iova(host.fake, FAKE_ANY_SPACE, ranges[i].iova, MIB, &found);
			assert_true(found.mapped);
			assert_int_equal(found.readable, cases[i].read);
			assert_int_equal(found.writable, cases[i].write);
		}
		assert_ok(vfb_space_unmap(host.space, ranges, ARRAY_SIZE(cases), NULL));
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/* Chosen IOVAs fit the pages of the memory, around what is mapped and reserved. */
static void test_any_iova(void **state)
{
	struct fake_config config = {.pages_1g = {5}, .pages_2m = {64}};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		static const uint64_t bytes[] = {3 * GIB, 2 * GIB, 64 * MIB, 64 * MIB, 8 * KIB};
		static const enum vfb_page_size pages[] = {VFB_PAGE_1G, VFB_PAGE_1G, VFB_PAGE_2M,
							   VFB_PAGE_4K, VFB_PAGE_4K};
		static const uint64_t aligns[] = {GIB, GIB, 2 * MIB, 2 * MIB, 4 * KIB};
		struct vfb_range ranges[6] = {0};
		struct vfb_device *device;
		struct host host;

		host_start(&host, &config, backends[b], 1, &device);
		for (size_t i = 0; i < 5; i++) {
			ranges[i].memory = make_memory(&host, bytes[i], pages[i]);
			ranges[i].bytes = bytes[i];
			ranges[i].flags = VFB_RANGE_ANY_IOVA;
			/* Not looked at. */
			ranges[i].iova = 12345;
		}
		/* In the same batch, one that knows where it goes. */
		ranges[5].memory = ranges[3].memory;
		ranges[5].bytes = 4 * KIB;
		assert_ok(vfb_space_map(host.space, ranges, 6, NULL));
		for (size_t i = 0; i < 6; i++) {
			assert_mapped(&host, &ranges[i]);
			for (size_t n = 0; n < i; n++)
				assert_true(ranges[n].iova + ranges[n].bytes <= ranges[i].iova ||
					    ranges[i].iova + ranges[i].bytes <= ranges[n].iova);
			if (i < 5)
				assert_int_equal((ranges[i].iova -
						  (uintptr_t)address_of(ranges[i].memory)) %
							 aligns[i],
						 0);
		}
		/* The lowest that is free, below the window of interrupts or above. */
		assert_int_equal(ranges[0].iova, 4 * GIB);
		assert_true(ranges[4].iova < GIB);
		assert_ok(vfb_space_unmap(host.space, ranges, 6, NULL));
		/* Free again. */
		assert_ok(vfb_space_map(host.space, ranges, 1, NULL));
		assert_int_equal(ranges[0].iova, 0);
		vfb_device_close(device);
		assert_ok(vfb_space_destroy(host.space));
		host.space = NULL;
		for (size_t i = 0; i < 5; i++)
			assert_ok(vfb_memory_destroy(ranges[i].memory));
		host_close(&host);
	}
}

/* Many ranges of one memory, mapped out of order, unmapped in other pieces. */
static void test_many(void **state)
{
	enum {
		COUNT = 200
	};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[COUNT] = {0}, halves[2];
		struct vfb_device *device;
		struct vfb_memory *memory;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, COUNT * 64 * KIB, VFB_PAGE_4K);
		for (uint64_t i = 0; i < COUNT; i++) {
			uint64_t n = i * 37 % COUNT;

			ranges[i] = (struct vfb_range){.memory = memory,
						       .offset = n * 64 * KIB,
						       .bytes = 64 * KIB,
						       .iova = GIB + n * 64 * KIB};
		}
		assert_ok(vfb_space_map(host.space, ranges, COUNT, NULL));
		assert_int_equal(info_of(host.space).mappings, COUNT);
		for (size_t i = 0; i < COUNT; i++)
			assert_mapped(&host, &ranges[i]);
		halves[0] = (struct vfb_range){.iova = GIB, .bytes = COUNT / 2 * 64 * KIB};
		halves[1] = halves[0];
		halves[1].iova += halves[0].bytes;
		assert_ok(vfb_space_unmap(host.space, halves, 2, NULL));
		assert_int_equal(info_of(host.space).mappings, 0);
		assert_int_equal(stats_of(&host).mappings, 0);
		vfb_device_close(device);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/* Out of file descriptors: nothing is begun. */
static void test_out_of_resources(void **state)
{
	struct vfb_range range = {.bytes = 2 * MIB};
	struct vfb_device *device;
	struct vfb_job *job = (void *)1;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	range.memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	fake_fail_call(host.fake, "eventfd", 1, EMFILE);
	assert_fails(vfb_space_map_start(host.space, &range, 1, NULL, &job), -EMFILE, "eventfd");
	assert_null(job);
	assert_int_equal(info_of(host.space).mappings, 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	fake_fail_call(host.fake, "eventfd", 1, EMFILE);
	job = (void *)1;
	assert_fails(vfb_space_unmap_start(host.space, &range, 1, NULL, &job), -EMFILE, "eventfd");
	assert_null(job);
	assert_mapped(&host, &range);
	fake_fail_call(host.fake, "eventfd", 1, EMFILE);
	job = (void *)1;
	assert_fails(vfb_devices_close_start(&device, 1, NULL, &job), -EMFILE, "eventfd");
	assert_null(job);
	assert_int_equal(info_of(host.space).devices, 1);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	/* Closed all the same. */
	fake_fail_call(host.fake, "eventfd", 1, EMFILE);
	assert_fails(vfb_devices_close(&device, 1, NULL), -EMFILE, "eventfd");
	assert_int_equal(info_of(host.space).devices, 0);
	fake_fail_call(host.fake, "open:/dev/vfio/vfio", 1, EMFILE);
	assert_fails(vfb_space_create(host.ctx,
				      &(struct vfb_space_opts){.size = sizeof(
								       struct vfb_space_opts),
							       .backend = VFB_BACKEND_TYPE1},
				      &(struct vfb_space *){NULL}),
		     -EMFILE, "/dev/vfio/vfio");
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_any_iova),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_out_of_resources),
	};

	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
