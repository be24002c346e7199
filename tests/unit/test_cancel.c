/* SPDX-License-Identifier: MIT */
/* A cancelled job ends soon and has left nothing behind. */
#include "host.h"

#define RESET (100 * MS)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static void assert_nothing_mapped(struct host *host)
{
	assert_int_equal(stats_of(host).mappings, 0);
	assert_int_equal(stats_of(host).pinned_bytes, 0);
	assert_int_equal(info_of(host->space).mappings, 0);
	assert_int_equal(info_of(host->space).mapped_bytes, 0);
}

/* @flags of the batch; cancelled @after so much time, of 250 ms that it would take. */
static void cancel_map(enum vfb_backend backend, uint32_t flags, uint64_t after)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = flags};
	struct vfb_range ranges[4] = {0};
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct vfb_job *job;
	struct host host;
	uint64_t begin;

	host_start(&host, NULL, backend, 1, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	for (uint64_t i = 0; i < 4; i++)
		ranges[i] = (struct vfb_range){
			.memory = memory,
			.offset = i * GIB,
			.bytes = GIB,
			.iova = (i + 1) * 8 * GIB,
			.flags = i % 2 ? VFB_RANGE_ANY_IOVA : 0,
		};
	assert_ok(vfb_space_map_start(host.space, ranges, 4, &opts, &job));
	assert_fails(vfb_memory_destroy(memory), -EBUSY, "jobs");
	assert_fails(vfb_space_destroy(host.space), -EBUSY, "devices");
	host.sys->sleep(host.sys, after);
	begin = fake_now(host.fake);
	vfb_job_cancel(job);
	vfb_job_cancel(job);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ECANCELED, "cancelled");
	/* A step of 2 MiB, or a map that has begun, and what is undone. */
	assert_true(fake_now(host.fake) - begin < 4 * 10 * MS + 30 * MS);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ranges[i].status, -ECANCELED);
	assert_nothing_mapped(&host);
	vfb_job_destroy(job);
	/* The IOVAs are free again, and nothing has to be populated twice. */
	assert_ok(vfb_space_map(host.space, ranges, 4, NULL));
	for (size_t i = 0; i < 4; i++)
		assert_mapped(&host, &ranges[i]);
	assert_ok(vfb_space_unmap(host.space, ranges, 4, NULL));
	assert_nothing_mapped(&host);
	vfb_device_close(device);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_map(void **state)
{
	static const uint64_t times[] = {0, MS, 80 * MS, 230 * MS};

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (size_t t = 0; t < ARRAY_SIZE(times); t++)
			cancel_map(backends[i], 0, times[t]);
}

static void test_map_best_effort(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++)
		cancel_map(backends[i], VFB_BATCH_BEST_EFFORT, 80 * MS);
}

/* One entry has failed and been passed over: the rest can still be cancelled. */
static void test_after_failure(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .flags = VFB_BATCH_BEST_EFFORT};
	struct vfb_range ranges[2];
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct vfb_job *job;
	struct host host;
	uint64_t begin;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	ranges[0] = (struct vfb_range){.memory = memory, .bytes = 1};
	ranges[1] = (struct vfb_range){.memory = memory, .bytes = 4 * GIB, .iova = 4 * GIB};
	assert_ok(vfb_space_map_start(host.space, ranges, 2, &opts, &job));
	host.sys->sleep(host.sys, 100 * MS);
	begin = fake_now(host.fake);
	vfb_job_cancel(job);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ECANCELED, "cancelled");
	assert_true(fake_now(host.fake) - begin < 80 * MS);
	assert_int_equal(ranges[0].status, -EINVAL);
	assert_int_equal(ranges[1].status, -ECANCELED);
	assert_nothing_mapped(&host);
	vfb_job_destroy(job);
	vfb_device_close(device);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* While it waits for a device. */
static void test_waiting_map(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device_request request = {.address = addresses[0]};
		struct vfb_range range = {.bytes = 64 * MIB};
		struct vfb_job *open, *map;
		struct host host;

		host_ready(&host, NULL, backends[i], 1);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		/* Attaching takes long, too. */
		fake_fail_call(host.fake, "open:/sys/bus/pci/devices/0000:01:00.0/numa_node", 1,
			       EIO);
		fake_fail_delay(host.fake, RESET);
		assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &open));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &map));
		host.sys->sleep(host.sys, RESET / 2);
		vfb_job_cancel(map);
		assert_fails(vfb_job_wait(map, UINT64_MAX), -ECANCELED, "cancelled");
		assert_int_equal(range.status, -ECANCELED);
		assert_ok(vfb_job_wait(open, UINT64_MAX));
		assert_nothing_mapped(&host);
		assert_int_equal(stats_of(&host).map_calls, 0);
		vfb_job_destroy(map);
		vfb_job_destroy(open);
		vfb_device_close(request.device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* Of devices below one bridge the first is being reset: the others are not touched. */
static void test_open(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device_request requests[4] = {0};
		struct vfb_job *job;
		struct host host;

		host_open(&host, NULL);
		for (unsigned int n = 0; n < 4; n++) {
			add_device(host.fake, addresses[n], n + 1, "0000:00:01.0");
			requests[n].address = addresses[n];
		}
		host_space(&host, backends[i]);
		assert_ok(vfb_devices_open_start(host.space, requests, 4, NULL, &job));
		host.sys->sleep(host.sys, RESET / 2);
		vfb_job_cancel(job);
		assert_fails(vfb_job_wait(job, UINT64_MAX), -ECANCELED, "cancelled");
		for (size_t n = 0; n < 4; n++) {
			struct fake_device_stats stats;

			assert_null(requests[n].device);
			assert_int_equal(requests[n].status, -ECANCELED);
			fake_device_stats(host.fake, addresses[n], &stats);
			assert_int_equal(stats.opens, 0);
			assert_int_equal(stats.attached, 0);
			assert_int_equal(stats.open_resets, n == 0);
		}
		assert_int_equal(info_of(host.space).devices, 0);
		vfb_job_destroy(job);
		host_close(&host);
	}
}

static void test_populate(void **state)
{
	struct vfb_memory *memory;
	struct vfb_job *job;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_THP);
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	host.sys->sleep(host.sys, 100 * MS);
	vfb_job_cancel(job);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ECANCELED, "cancelled");
	vfb_job_destroy(job);
	/* What is populated stays, and is remembered. */
	assert_in_range(populated_of(memory), GIB, 2 * GIB);
	assert_int_equal(populated_of(memory), stats_of(&host).populated_bytes);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(stats_of(&host).populated_bytes, 4 * GIB);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* In one call: what is under way is undone, what is done stays. */
static void test_and_destroy(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_device_request request = {.address = addresses[0]};
		struct vfb_range range = {.bytes = 4 * GIB, .iova = 4 * GIB};
		struct vfb_job *job;
		struct host host;

		host_ready(&host, NULL, backends[i], 1);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &job));
		host.sys->sleep(host.sys, RESET / 2);
		assert_fails(vfb_job_cancel_and_destroy(job), -ECANCELED, "cancelled");
		assert_null(request.device);
		assert_ok(vfb_devices_open_start(host.space, &request, 1, NULL, &job));
		host.sys->sleep(host.sys, 2 * RESET);
		assert_ok(vfb_job_cancel_and_destroy(job));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &job));
		assert_fails(vfb_job_cancel_and_destroy(job), -ECANCELED, "cancelled");
		assert_nothing_mapped(&host);
		assert_ok(vfb_job_cancel_and_destroy(NULL));
		vfb_device_close(request.device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* What closes or unmaps goes on; and a cancel that comes too late changes nothing. */
static void test_no_effect(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_range range = {.bytes = 4 * GIB, .iova = 4 * GIB};
		struct vfb_device *device;
		struct vfb_job *job;
		struct host host;

		host_start(&host, NULL, backends[i], 1, &device);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &job));
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		vfb_job_cancel(job);
		assert_ok(vfb_job_wait(job, 0));
		assert_mapped(&host, &range);
		vfb_job_destroy(job);
		assert_ok(vfb_space_unmap_start(host.space, &range, 1, NULL, &job));
		vfb_job_cancel(job);
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		vfb_job_destroy(job);
		assert_nothing_mapped(&host);
		assert_ok(vfb_devices_close_start(&device, 1, NULL, &job));
		vfb_job_cancel(job);
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		vfb_job_destroy(job);
		assert_int_equal(info_of(host.space).devices, 0);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),	      cmocka_unit_test(test_map_best_effort),
		cmocka_unit_test(test_after_failure), cmocka_unit_test(test_waiting_map),
		cmocka_unit_test(test_open),	      cmocka_unit_test(test_populate),
		cmocka_unit_test(test_no_effect),     cmocka_unit_test(test_and_destroy),
	};

	return cmocka_run_group_tests_name("cancel", tests, NULL, NULL);
}
