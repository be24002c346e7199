/* SPDX-License-Identifier: MIT */
/* Maps wait for the domain that the devices being opened will bring, or learn that none comes. */
#include "host.h"

#define RESET (100 * MS)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* A host with devices that nobody has opened, and memory. */
static struct vfb_range prepare(struct host *host, const struct fake_config *config,
				enum vfb_backend backend, uint64_t bytes)
{
	struct vfb_range range = {.bytes = bytes, .iova = GIB};

	host_open(host, config);
	add_devices(host->fake, 3);
	host_space(host, backend);
	range.memory = make_memory(host, bytes, VFB_PAGE_4K);
	return range;
}

static void finish(struct host *host, struct vfb_device *device, const struct vfb_range *range)
{
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(host->space));
	host->space = NULL;
	assert_ok(vfb_memory_destroy(range->memory));
	host_close(host);
}

/* Without a device ranges are populated and kept; the first device finds them mapped. */
static void test_no_device(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_range ranges[2];
		struct vfb_device *device;
		struct host host;

		ranges[0] = prepare(&host, NULL, backends[i], 64 * MIB);
		ranges[1] = ranges[0];
		ranges[1].flags = VFB_RANGE_ANY_IOVA;
		assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
		assert_int_equal(ranges[0].status, 0);
		assert_int_equal(info_of(host.space).mappings, 2);
		assert_int_equal(stats_of(&host).map_calls, 0);
		assert_int_equal(populated_of(ranges[0].memory), 64 * MIB);
		assert_true(ranges[1].iova >= 4 * GIB);
		assert_fails(vfb_space_map(host.space, ranges, 1, NULL), -EEXIST, "is mapped");
		assert_fails(vfb_memory_destroy(ranges[0].memory), -EBUSY, "2 ranges");
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_mapped(&host, &ranges[0]);
		assert_mapped(&host, &ranges[1]);
		assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
		/* Nothing to map needs nothing. */
		assert_ok(vfb_space_map(host.space, ranges, 0, NULL));
		finish(&host, device, ranges);
	}
}

/* Devices that open one after another can be used one after another. */
static void wait_for_each(enum vfb_backend backend, uint32_t flags, bool fails)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = flags};
	struct vfb_device_request requests[3] = {{.address = addresses[0]},
						 {.address = addresses[1]},
						 {.address = addresses[2]}};
	struct vfb_job *job;
	struct host host;
	uint64_t value, begin;

	host_open(&host, NULL);
	for (unsigned int i = 0; i < 3; i++)
		fake_add_device(host.fake, &(struct fake_device){.address = addresses[i],
								 .group = i,
								 .driver = "vfio-pci",
								 .reset_ns = (i + 1) * RESET});
	host_space(&host, backend);
	if (fails)
		fake_fail_call(host.fake, "VFIO_DEVICE_GET_INFO", 3, EIO);
	begin = fake_now(host.fake);
	assert_ok(vfb_devices_open_start(host.space, requests, 3, &opts, &job));
	assert_fails(vfb_job_wait_entry(job, 0, RESET / 2), -ETIMEDOUT, "not finished");
	for (unsigned int i = 0; i < 2; i++) {
		assert_ok(vfb_job_wait_entry(job, i, UINT64_MAX));
		assert_in_range(fake_now(host.fake) - begin, (i + 1) * RESET,
				(i + 1) * RESET + RESET / 2);
		assert_ok(vfb_region_load(requests[i].device, VFB_REGION_CONFIG, 0, 2, &value));
		assert_int_equal(value, 0x1b36);
	}
	if (!fails)
		assert_ok(vfb_job_wait_entry(job, 2, UINT64_MAX));
	else
		assert_fails(vfb_job_wait_entry(job, 2, UINT64_MAX), -EIO, "regions");
	assert_int_equal(vfb_job_wait(job, UINT64_MAX), fails ? -EIO : 0);
	for (unsigned int i = 0; i < 3; i++) {
		bool kept = !fails || (flags && i < 2);

		assert_int_equal(requests[i].device != NULL, kept);
		assert_int_equal(requests[i].status, kept ? 0 : i < 2 ? -ECANCELED : -EIO);
		assert_int_equal(vfb_job_wait_entry(job, i, 0), requests[i].status);
		vfb_device_close(requests[i].device);
	}
	vfb_job_destroy(job);
	host_close(&host);
}

static void test_each_device(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		wait_for_each(backends[i], 0, false);
		wait_for_each(backends[i], 0, true);
		wait_for_each(backends[i], VFB_BATCH_BEST_EFFORT, true);
	}
}

/* What is kept can be unmapped again before a device comes. */
static void test_kept_and_unmapped(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_range range = prepare(&host, NULL, backends[i], 64 * MIB);

		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		assert_int_equal(info_of(host.space).mappings, 0);
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_int_equal(stats_of(&host).map_calls, 0);
		finish(&host, device, &range);
	}
}

/* A range that is kept where the devices cannot reach: the device fails, the range stays. */
static void test_kept_outside(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device *device;
		struct host host;
		struct vfb_range range = prepare(&host, NULL, backends[i], 64 * MIB);

		range.iova = 0xfee00000;
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_fails(vfb_device_open(host.space, addresses[0], &device), -EADDRINUSE,
			     "0xfee00000", "open devices first");
		assert_int_equal(info_of(host.space).mappings, 1);
		assert_int_equal(info_of(host.space).devices, 0);
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		finish(&host, device, &range);
	}
}

/* The device comes while a range that is to be kept is still being populated. */
static void test_device_comes(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device *device;
		struct vfb_job *map;
		struct host host;
		struct vfb_range range = prepare(&host, NULL, backends[i], 8 * GIB);

		range.iova = 4 * GIB;
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_int_equal(vfb_job_wait(map, 0), -ETIMEDOUT);
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		vfb_job_destroy(map);
		assert_mapped(&host, &range);
		finish(&host, device, &range);
	}
}

static void test_waits(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device_request request = {.address = addresses[0]};
		struct vfb_job *open, *map;
		struct host host;
		struct vfb_range range = prepare(&host, NULL, backends[i], 64 * MIB);

		assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
		assert_int_equal(vfb_job_wait(map, RESET / 2),
				 backends[i] == VFB_BACKEND_IOMMUFD ? -ETIMEDOUT : 0);
		assert_int_equal(populated_of(range.memory), range.bytes);
		/* iommufd: the first device to be attached brings the domain. */
		if (backends[i] == VFB_BACKEND_IOMMUFD)
			assert_int_equal(stats_of(&host).map_calls, 0);
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		assert_mapped(&host, &range);
		assert_ok(vfb_job_wait(open, UINT64_MAX));
		vfb_job_destroy(map);
		vfb_job_destroy(open);
		finish(&host, request.device, &range);
	}
}

/* @call fails, so that no device opens; the map, at a fixed and at any IOVA, does not hang: the
 * ranges are kept for the next one. */
static void opening_fails(enum vfb_backend backend, const char *call, uint64_t after)
{
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_job *open, *map;
	struct vfb_range ranges[2];
	struct host host;

	ranges[0] = prepare(&host, NULL, backend, 64 * MIB);
	ranges[0].bytes /= 2;
	ranges[1] = ranges[0];
	ranges[1].offset = ranges[0].bytes;
	ranges[1].flags = VFB_RANGE_ANY_IOVA;
	fake_fail_call(host.fake, call, 1, EIO);
	fake_fail_delay(host.fake, after);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(host.space, ranges, 2, NULL, &map));
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	assert_fails(vfb_job_wait(open, UINT64_MAX), -EIO, "cannot");
	assert_int_equal(request.status, -EIO);
	assert_null(request.device);
	assert_int_equal(info_of(host.space).mappings, 2);
	assert_int_equal(stats_of(&host).mappings, 0);
	vfb_job_destroy(map);
	vfb_job_destroy(open);
	/* It can be tried again. */
	assert_ok(vfb_device_open(host.space, addresses[0], &request.device));
	assert_mapped(&host, &ranges[0]);
	assert_mapped(&host, &ranges[1]);
	finish(&host, request.device, &ranges[0]);
}

static void test_opening_fails(void **state)
{
	(void)state;
	opening_fails(VFB_BACKEND_TYPE1, "VFIO_GROUP_GET_STATUS", 0);
	opening_fails(VFB_BACKEND_TYPE1, "VFIO_SET_IOMMU", 50 * MS);
	opening_fails(VFB_BACKEND_IOMMUFD, "VFIO_DEVICE_BIND_IOMMUFD", 50 * MS);
	opening_fails(VFB_BACKEND_IOMMUFD, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 0);
	opening_fails(VFB_BACKEND_IOMMUFD, "VFIO_DEVICE_GET_INFO", 0);
}

/* type1 has mapped by the time that the device fails; the next device finds the mapping. */
static void test_device_fails_late(void **state)
{
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_job *open, *map;
	struct host host;
	struct vfb_range range = prepare(&host, NULL, VFB_BACKEND_TYPE1, 64 * MIB);

	(void)state;
	fake_fail_call(host.fake, "VFIO_GROUP_GET_DEVICE_FD", 1, EIO);
	fake_fail_delay(host.fake, RESET);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	assert_fails(vfb_job_wait(open, UINT64_MAX), -EIO, addresses[0]);
	vfb_job_destroy(map);
	vfb_job_destroy(open);
	assert_int_equal(stats_of(&host).mappings, 0);
	assert_int_equal(info_of(host.space).devices, 0);
	assert_ok(vfb_device_open(host.space, addresses[1], &request.device));
	assert_mapped(&host, &range);
	finish(&host, request.device, &range);
}

/* The domain cannot be described: its batch fails, another one that is coming brings it. */
static void test_second_batch(void **state)
{
	static const char *const calls[] = {"VFIO_IOMMU_GET_INFO", "IOMMU_IOAS_IOVA_RANGES"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device_request first = {.address = addresses[0]};
		struct vfb_device_request second = {.address = addresses[1]};
		struct vfb_job *opens[2], *map;
		struct host host;
		struct vfb_range range = prepare(&host, NULL, backends[i], 64 * MIB);

		fake_fail_call(host.fake, calls[i], 1, EIO);
		/* The second is being looked up when the first fails. */
		fake_fail_delay(host.fake, 10 * MS);
		fake_fail_call(host.fake, "open:/sys/bus/pci/devices/0000:02:00.0/numa_node", 1,
			       EIO);
		assert_ok(vfb_devices_open_start(host.space, &first, 1, NULL, &opens[0]));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
		host.sys->sleep(host.sys, i ? RESET + 5 * MS : 5 * MS);
		assert_ok(vfb_devices_open_start(host.space, &second, 1, NULL, &opens[1]));
		assert_fails(vfb_job_wait(opens[0], UINT64_MAX), -EIO, "cannot read");
		assert_ok(vfb_job_wait(opens[1], UINT64_MAX));
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		assert_mapped(&host, &range);
		for (size_t n = 0; n < 2; n++)
			vfb_job_destroy(opens[n]);
		vfb_job_destroy(map);
		finish(&host, second.device, &range);
	}
}

/* While a failed batch closes its devices, the space must stay. */
static void test_destroy_early(void **state)
{
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_job *open;
	struct host host;
	struct vfb_range range = prepare(&host, NULL, VFB_BACKEND_IOMMUFD, 2 * MIB);

	(void)state;
	fake_fail_call(host.fake, "IOMMU_IOAS_IOVA_RANGES", 1, EIO);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
	assert_fails(vfb_space_destroy(host.space), -EBUSY, "devices");
	assert_fails(vfb_job_wait(open, RESET + RESET / 2), -ETIMEDOUT, "not ended");
	assert_int_equal(info_of(host.space).devices, 0);
	assert_fails(vfb_space_destroy(host.space), -EBUSY, "devices");
	assert_fails(vfb_job_wait(open, UINT64_MAX), -EIO, "IOVA");
	vfb_job_destroy(open);
	finish(&host, NULL, &range);
}

/* So few mappings are left that a range needs to be one, though it waits half populated. */
static void test_entry_limit(void **state)
{
	struct fake_config config = {.dma_entry_limit = 1};
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_job *open, *map;
	struct host host;
	struct vfb_range range = prepare(&host, &config, VFB_BACKEND_TYPE1, 2 * GIB);

	(void)state;
	range.iova = 4 * GIB;
	/* The domain comes late, in the middle of populating. */
	fake_fail_call(host.fake, "open:/sys/bus/pci/devices/0000:01:00.0/numa_node", 1, EIO);
	fake_fail_delay(host.fake, 60 * MS);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	assert_ok(vfb_job_wait(open, UINT64_MAX));
	assert_int_equal(stats_of(&host).map_calls, 1);
	assert_int_equal(info_of(host.space).entries_left, 0);
	vfb_job_destroy(map);
	vfb_job_destroy(open);
	finish(&host, request.device, &range);
}

/*
 * Jobs that map BARs into a space whose first device is being opened wait for the domain without a
 * thread: however many there are, the device finds one to open it.
 */
static void test_many_jobs_wait(void **state)
{
	enum {
		DEVICES = 11,
		JOBS = 6 * DEVICES
	};
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_IOMMUFD};
	struct vfb_device_request requests[DEVICES + 1] = {0};
	struct vfb_bar bars[JOBS];
	char names[DEVICES + 1][16], bridges[DEVICES + 1][16];
	struct vfb_job *jobs[JOBS], *opening;
	struct vfb_space *other;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	for (size_t i = 0; i <= DEVICES; i++) {
		snprintf(names[i], sizeof(names[i]), "0000:%02zx:00.0", i + 1);
		snprintf(bridges[i], sizeof(bridges[i]), "0000:00:%02zx.0", i + 1);
		requests[i].address = names[i];
		fake_add_device(host.fake,
				&(struct fake_device){
					.address = names[i],
					.group = i + 1,
					.driver = "vfio-pci",
					.bridge = bridges[i],
					.bars = {{MIB}, {MIB}, {MIB}, {MIB}, {MIB}, {MIB}},
				});
	}
	host_space(&host, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_devices_open(host.space, requests, DEVICES, NULL));
	assert_ok(vfb_space_create(host.ctx, &opts, &other));
	assert_ok(vfb_devices_open_start(other, &requests[DEVICES], 1, NULL, &opening));
	for (size_t i = 0; i < JOBS; i++) {
		struct vfb_device *device = requests[i / 6].device;

		assert_ok(vfb_region_store(device, VFB_REGION_CONFIG, 4, 2, 2));
		bars[i] = (struct vfb_bar){.device = device,
					   .index = i % 6,
					   .flags = VFB_BAR_ANY_IOVA};
		assert_ok(vfb_bars_map_start(other, &bars[i], 1, NULL, &jobs[i]));
	}
	assert_ok(vfb_job_wait(opening, UINT64_MAX));
	vfb_job_destroy(opening);
	for (size_t i = 0; i < JOBS; i++) {
		assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
		assert_int_equal(bars[i].status, 0);
		vfb_job_destroy(jobs[i]);
	}
	for (size_t i = 0; i <= DEVICES; i++)
		assert_ok(vfb_device_close(requests[i].device));
	assert_ok(vfb_space_destroy(other));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_device),	  cmocka_unit_test(test_many_jobs_wait),
		cmocka_unit_test(test_no_device),	  cmocka_unit_test(test_waits),
		cmocka_unit_test(test_kept_outside),	  cmocka_unit_test(test_kept_and_unmapped),
		cmocka_unit_test(test_device_comes),	  cmocka_unit_test(test_opening_fails),
		cmocka_unit_test(test_device_fails_late), cmocka_unit_test(test_second_batch),
		cmocka_unit_test(test_destroy_early),	  cmocka_unit_test(test_entry_limit),
	};

	return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
