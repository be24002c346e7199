/* SPDX-License-Identifier: MIT */
/* Jobs side by side: small ones and those of a higher priority pass, others share the workers. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* A job that maps memory of its own. */
struct load {
	struct vfb_range range;
	struct vfb_job *job;
};

static void start(struct host *host, struct load *load, uint64_t iova, uint64_t bytes,
		  const struct vfb_batch_opts *opts)
{
	load->range = (struct vfb_range){
		.memory = make_memory(host, bytes, VFB_PAGE_4K),
		.bytes = bytes,
		.iova = iova,
	};
	assert_ok(vfb_space_map_start(host->space, &load->range, 1, opts, &load->job));
}

/* Waits for the end of a job, and returns when that was. */
static uint64_t finish(struct host *host, struct load *load)
{
	assert_ok(vfb_job_wait(load->job, UINT64_MAX));
	vfb_job_destroy(load->job);
	assert_mapped(host, &load->range);
	return fake_now(host->fake);
}

static void discard(struct host *host, struct load *load)
{
	assert_ok(vfb_space_unmap(host->space, &load->range, 1, NULL));
	assert_ok(vfb_memory_destroy(load->range.memory));
}

/* How long a job takes. */
static uint64_t time_one(struct host *host, uint64_t bytes)
{
	uint64_t begin = fake_now(host->fake);
	struct load load;

	start(host, &load, 4 * GIB, bytes, NULL);
	begin = finish(host, &load) - begin;
	discard(host, &load);
	return begin;
}

/* As soon as alone, although all workers are busy with pieces that take longer. */
static void test_small(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct fake_config config = {.nodes = 1, .cpus_per_node = 2};
		struct load large, small;
		struct vfb_device *device;
		uint64_t alone, began;
		struct host host;

		host_start(&host, &config, backends[b], 1, &device);
		alone = time_one(&host, 8 * KIB);
		start(&host, &large, 8 * GIB, 8 * GIB, NULL);
		host.sys->sleep(host.sys, MS);
		began = fake_now(host.fake);
		for (int i = 0; i < 3; i++) {
			start(&host, &small, GIB, 8 * KIB, NULL);
			finish(&host, &small);
			discard(&host, &small);
		}
		assert_in_range(fake_now(host.fake) - began, 0, 3 * 2 * alone);
		assert_fails(vfb_job_wait(large.job, 0), -ETIMEDOUT, "not ended");
		finish(&host, &large);
		discard(&host, &large);
		assert_ok(vfb_device_close(device));
		host_close(&host);
	}
}

/* If there can be no thread for small jobs, they wait for a worker. */
static void test_small_without_thread(void **state)
{
	struct fake_config config = {.nodes = 1, .cpus_per_node = 2};
	struct load large, small;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
	start(&host, &large, 8 * GIB, 8 * GIB, NULL);
	host.sys->sleep(host.sys, MS);
	fake_fail_call(host.fake, "thread_create", 1, EAGAIN);
	start(&host, &small, GIB, 8 * KIB, NULL);
	finish(&host, &small);
	assert_fails(vfb_job_wait(large.job, 0), -ETIMEDOUT, "not ended");
	finish(&host, &large);
	discard(&host, &small);
	discard(&host, &large);
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

/* The second of two equal jobs does not wait for the first, which it delays by its own share. */
static void test_equal(void **state)
{
	(void)state;
	for (size_t nodes = 1; nodes <= 2; nodes++) {
		struct fake_config config = {.nodes = nodes, .cpus_per_node = 2};
		struct load first, second;
		struct vfb_device *device;
		uint64_t alone, begin, one, other;
		struct host host;

		host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
		alone = time_one(&host, 4 * GIB);
		begin = fake_now(host.fake);
		start(&host, &first, 8 * GIB, 4 * GIB, NULL);
		start(&host, &second, 16 * GIB, 4 * GIB, NULL);
		one = finish(&host, &first) - begin;
		other = finish(&host, &second) - begin;
		assert_in_range(one, alone * 3 / 2, alone * 21 / 10);
		assert_in_range(other, one, alone * 21 / 10);
		discard(&host, &first);
		discard(&host, &second);
		assert_ok(vfb_device_close(device));
		host_close(&host);
	}
}

/* A job of a higher priority waits for the pieces that run, and for nothing else; one of a lower
 * priority for everything. */
static void test_priority(void **state)
{
	struct vfb_batch_opts high = VFB_BATCH_OPTS_INIT, low = VFB_BATCH_OPTS_INIT;
	struct fake_config config = {.nodes = 1, .cpus_per_node = 2};
	struct load lowest, middle, highest;
	struct vfb_device *device;
	uint64_t alone, begin;
	struct host host;

	(void)state;
	high.priority = 1;
	low.priority = -1;
	host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
	alone = time_one(&host, 4 * GIB);
	begin = fake_now(host.fake);
	start(&host, &lowest, 8 * GIB, 4 * GIB, &low);
	start(&host, &middle, 16 * GIB, 4 * GIB, NULL);
	start(&host, &highest, 24 * GIB, 4 * GIB, &high);
	assert_in_range(finish(&host, &highest) - begin, alone, alone * 5 / 4);
	assert_fails(vfb_job_wait(middle.job, 0), -ETIMEDOUT, "not ended");
	assert_in_range(finish(&host, &middle) - begin, alone * 3 / 2, alone * 9 / 4);
	assert_fails(vfb_job_wait(lowest.job, 0), -ETIMEDOUT, "not ended");
	finish(&host, &lowest);
	discard(&host, &lowest);
	discard(&host, &middle);
	discard(&host, &highest);
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

/* However low its priority, a job that is cancelled ends when its pieces that run have. */
static void test_cancel_behind_others(void **state)
{
	struct vfb_batch_opts low = VFB_BATCH_OPTS_INIT;
	struct fake_config config = {.nodes = 1, .cpus_per_node = 2};
	struct load cancelled, busy;
	struct vfb_device *device;
	uint64_t alone, begin;
	struct host host;

	(void)state;
	low.priority = -1000;
	host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
	alone = time_one(&host, 4 * GIB);
	start(&host, &busy, 8 * GIB, 4 * GIB, NULL);
	start(&host, &cancelled, 16 * GIB, 4 * GIB, &low);
	begin = fake_now(host.fake);
	vfb_job_cancel(cancelled.job);
	assert_fails(vfb_job_wait(cancelled.job, UINT64_MAX), -ECANCELED, "cancelled");
	assert_in_range(fake_now(host.fake) - begin, 0, alone / 4);
	vfb_job_destroy(cancelled.job);
	assert_ok(vfb_memory_destroy(cancelled.range.memory));
	finish(&host, &busy);
	discard(&host, &busy);
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

/* A large job that unmaps lets one in that maps. */
static void test_unmap(void **state)
{
	struct fake_config config = {.nodes = 1, .cpus_per_node = 2};
	struct load load;
	struct vfb_device *device;
	struct vfb_range *ranges;
	struct vfb_memory *memory;
	struct vfb_job *job;
	const size_t count = 4096;
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_IOMMUFD, 1, &device);
	memory = make_memory(&host, count * 64 * KIB, VFB_PAGE_4K);
	ranges = calloc(count, sizeof(*ranges));
	assert_non_null(ranges);
	for (size_t i = 0; i < count; i++)
		ranges[i] = (struct vfb_range){
			.memory = memory,
			.offset = i * 64 * KIB,
			.bytes = 64 * KIB,
			.iova = 8 * GIB + i * 64 * KIB,
		};
	assert_ok(vfb_space_map(host.space, ranges, count, NULL));
	assert_ok(vfb_space_unmap_start(host.space, ranges, count, NULL, &job));
	start(&host, &load, GIB, 32 * MIB, NULL);
	finish(&host, &load);
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	vfb_job_destroy(job);
	assert_int_equal(info_of(host.space).mappings, 1);
	discard(&host, &load);
	free(ranges);
	host_end(&host, device, memory);
}

static void test_options(void **state)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range range = {0};
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 1);
	opts.reserved = 1;
	assert_fails(vfb_space_map(host.space, &range, 1, &opts), -EINVAL, "reserved", "zero");
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_small_without_thread),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_cancel_behind_others),
		cmocka_unit_test(test_unmap),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests_name("fair", tests, NULL, NULL);
}
