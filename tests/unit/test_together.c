/* SPDX-License-Identifier: MIT */
/* Several jobs, batches and threads at the same time, in one space and in several. */
#include <pthread.h>

#include "host.h"

#define RESET (100 * MS)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* Two batches of devices open side by side, and each brings what it has. */
static void test_two_batches(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device_request requests[4] = {0};
		struct vfb_device *devices[4];
		struct vfb_job *jobs[3];
		struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
		struct host host;
		uint64_t begin;

		host_ready(&host, NULL, backends[b], 4);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		for (size_t i = 0; i < 4; i++)
			requests[i].address = addresses[i];
		begin = fake_now(host.fake);
		assert_ok(vfb_devices_open_start(host.space, requests, 1, NULL, &jobs[0]));
		assert_ok(vfb_devices_open_start(host.space, requests + 1, 3, NULL, &jobs[1]));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &jobs[2]));
		for (size_t i = 0; i < 3; i++)
			assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
		assert_in_range(fake_now(host.fake) - begin, RESET, RESET + 5 * MS);
		assert_int_equal(stats_of(&host).max_resets_at_once, 4);
		assert_int_equal(info_of(host.space).devices, 4);
		assert_mapped(&host, &range);
		for (size_t i = 0; i < 3; i++)
			vfb_job_destroy(jobs[i]);
		for (size_t i = 0; i < 4; i++)
			devices[i] = requests[i].device;
		begin = fake_now(host.fake);
		assert_ok(vfb_devices_close_start(devices, 2, NULL, &jobs[0]));
		assert_ok(vfb_devices_close_start(devices + 2, 2, NULL, &jobs[1]));
		assert_ok(vfb_space_unmap_start(host.space, &range, 1, NULL, &jobs[2]));
		for (size_t i = 0; i < 3; i++) {
			assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
			vfb_job_destroy(jobs[i]);
		}
		assert_in_range(fake_now(host.fake) - begin, RESET, RESET + 5 * MS);
		assert_int_equal(info_of(host.space).devices, 0);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/*
 * The map task of a job comes once for each wave: what was queued behind it the first time, here
 * the populating of a job that has gone since, is not run with it again.
 */
static void test_waves_beside_jobs(void **state)
{
	struct fake_config config = {.nodes = 1, .cpus_per_node = 1};
	struct vfb_memory *memories[4];
	struct vfb_device *device;
	struct vfb_range ranges[2] = {{.bytes = 2 * MIB, .priority = 1},
				      {.offset = 2 * MIB, .bytes = 32 * MIB, .iova = 4 * GIB}};
	struct vfb_job *jobs[4];
	struct host host;

	(void)state;
	host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
	for (size_t i = 0; i < 4; i++)
		memories[i] = make_memory(&host, (i ? 32 : 34) * MIB, VFB_PAGE_4K);
	ranges[0].memory = ranges[1].memory = memories[0];
	assert_ok(vfb_space_map_start(host.space, ranges, 2, NULL, &jobs[0]));
	for (size_t i = 1; i < 4; i++)
		assert_ok(vfb_memory_populate_start(&memories[i], 1, &jobs[i]));
	for (size_t i = 4; i-- > 1;) {
		assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
		vfb_job_destroy(jobs[i]);
	}
	assert_ok(vfb_job_wait(jobs[0], UINT64_MAX));
	vfb_job_destroy(jobs[0]);
	assert_mapped(&host, &ranges[0]);
	assert_mapped(&host, &ranges[1]);
	assert_ok(vfb_space_unmap(host.space, ranges, 2, NULL));
	for (size_t i = 0; i < 4; i++)
		assert_ok(vfb_memory_destroy(memories[i]));
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

/* One batch fails; the other, and what it brings, stays. */
static void test_one_of_two_fails(void **state)
{
	static const char *const calls[] = {"VFIO_GROUP_GET_DEVICE_FD",
					    "VFIO_DEVICE_ATTACH_IOMMUFD_PT"};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device_request requests[3] = {0};
		struct vfb_job *jobs[3];
		struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
		struct host host;

		host_ready(&host, NULL, backends[b], 3);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		for (size_t i = 0; i < 3; i++)
			requests[i].address = addresses[i];
		requests[1].address = "0000:77:00.0";
		assert_ok(vfb_devices_open_start(host.space, requests, 2, NULL, &jobs[0]));
		assert_ok(vfb_devices_open_start(host.space, requests + 2, 1, NULL, &jobs[2]));
		assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &jobs[1]));
		assert_fails(vfb_job_wait(jobs[0], UINT64_MAX), -ENODEV, "0000:77:00.0");
		assert_ok(vfb_job_wait(jobs[1], UINT64_MAX));
		assert_ok(vfb_job_wait(jobs[2], UINT64_MAX));
		assert_mapped(&host, &range);
		assert_int_equal(info_of(host.space).devices, 1);
		for (size_t i = 0; i < 3; i++)
			vfb_job_destroy(jobs[i]);
		/* While one is open another one can fail without harm. */
		fake_fail_call(host.fake, calls[b], 1, EIO);
		assert_fails(vfb_devices_open(host.space, requests, 1, NULL), -EIO, addresses[0]);
		assert_mapped(&host, &range);
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		vfb_device_close(requests[2].device);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

#define THREADS 6
#define ROUNDS	5

struct worker {
	struct host *host;
	unsigned int number;
	int result;
};

/* Memory comes and goes, at an IOVA of this thread's own and at one that is chosen. */
static void *map_thread(void *arg)
{
	struct worker *worker = arg;
	struct host *host = worker->host;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_range ranges[2];
	int error = 0;

	opts.bytes = 32 * MIB;
	opts.page_size = VFB_PAGE_4K;
	for (int round = 0; round < ROUNDS && !error; round++) {
		memset(ranges, 0, sizeof(ranges));
		error = vfb_memory_create(host->ctx, &opts, &ranges[0].memory);
		if (error)
			break;
		ranges[0].bytes = ranges[1].bytes = 16 * MIB;
		ranges[0].iova = (worker->number + 1) * (64 * GIB);
		ranges[1].memory = ranges[0].memory;
		ranges[1].offset = 16 * MIB;
		ranges[1].flags = VFB_RANGE_ANY_IOVA;
		error = vfb_space_map(host->space, ranges, 2, NULL);
		if (!error)
			error = vfb_space_unmap(host->space, ranges, 2, NULL);
		if (!error)
			error = vfb_memory_destroy(ranges[0].memory);
	}
	worker->result = error;
	return NULL;
}

/* A device comes and goes. */
static void *open_thread(void *arg)
{
	struct worker *worker = arg;
	struct host *host = worker->host;
	struct vfb_device *device;
	int error = 0;

	for (int round = 0; round < 2 && !error; round++) {
		error = vfb_device_open(host->space, addresses[worker->number], &device);
		if (!error)
			vfb_device_close(device);
	}
	worker->result = error;
	return NULL;
}

static void run_threads(struct host *host, void *(*run)(void *arg), struct worker *workers,
			pthread_t *threads, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		workers[i] = (struct worker){.host = host, .number = i};
		assert_int_equal(host->sys->thread_create(host->sys, "user", NULL, run, &workers[i],
							  &threads[i]),
				 0);
	}
}

static void join_threads(struct host *host, struct worker *workers, pthread_t *threads,
			 unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		host->sys->thread_join(host->sys, threads[i]);
		assert_int_equal(workers[i].result, 0);
	}
}

static void test_map_threads(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct worker workers[THREADS];
		pthread_t threads[THREADS];
		struct vfb_device *device;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		run_threads(&host, map_thread, workers, threads, THREADS);
		join_threads(&host, workers, threads, THREADS);
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_int_equal(info_of(host.space).mappings, 0);
		vfb_device_close(device);
		host_close(&host);
	}
}

/* One device at a time from each thread, all threads at once. */
static void test_open_threads(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct worker workers[THREADS];
		pthread_t threads[THREADS];
		struct host host;
		uint64_t begin;

		host_ready(&host, NULL, backends[b], THREADS);
		begin = fake_now(host.fake);
		run_threads(&host, open_thread, workers, threads, THREADS);
		join_threads(&host, workers, threads, THREADS);
		/* Twice open and close. */
		assert_in_range(fake_now(host.fake) - begin, 4 * RESET, 4 * RESET + 5 * MS);
		assert_int_equal(info_of(host.space).devices, 0);
		host_close(&host);
	}
}

/* Devices come and go while memory does. */
static void test_all_threads(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct worker workers[2 * THREADS];
		pthread_t threads[2 * THREADS];
		struct vfb_device *device;
		struct host host;

		host_ready(&host, NULL, backends[b], THREADS + 1);
		assert_ok(vfb_device_open(host.space, addresses[THREADS], &device));
		run_threads(&host, open_thread, workers, threads, THREADS);
		run_threads(&host, map_thread, workers + THREADS, threads + THREADS, THREADS);
		join_threads(&host, workers, threads, 2 * THREADS);
		vfb_device_close(device);
		assert_int_equal(stats_of(&host).mappings, 0);
		host_close(&host);
	}
}

/* The same memory in two spaces of different kinds. */
static void test_two_spaces(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_IOMMUFD};
	struct vfb_range ranges[2] = {0};
	struct vfb_device *devices[2], *busy;
	struct vfb_space *spaces[2];
	struct vfb_memory *memory;
	struct vfb_job *jobs[2];
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 2);
	assert_ok(vfb_space_create(host.ctx, &opts, &spaces[1]));
	spaces[0] = host.space;
	memory = make_memory(&host, 256 * MIB, VFB_PAGE_4K);
	for (size_t i = 0; i < 2; i++) {
		assert_ok(vfb_device_open(spaces[i], addresses[i], &devices[i]));
		ranges[i] = (struct vfb_range){.memory = memory, .bytes = 256 * MIB, .iova = GIB};
		assert_ok(vfb_space_map_start(spaces[i], &ranges[i], 1, NULL, &jobs[i]));
	}
	for (size_t i = 0; i < 2; i++) {
		assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
		vfb_job_destroy(jobs[i]);
		assert_int_equal(info_of(spaces[i]).mapped_bytes, 256 * MIB);
	}
	assert_int_equal(stats_of(&host).populated_bytes, 256 * MIB);
	assert_int_equal(stats_of(&host).pinned_bytes, 512 * MIB);
	assert_fails(vfb_memory_destroy(memory), -EBUSY, "2 ranges");
	/* A device of one is not to be had in the other. */
	assert_fails(vfb_device_open(spaces[0], addresses[1], &busy), -EBUSY, "in use");
	assert_null(busy);
	/* Devices of several spaces are closed in one batch. */
	close_devices(devices, 2);
	for (size_t i = 0; i < 2; i++)
		assert_ok(vfb_space_destroy(spaces[i]));
	host.space = NULL;
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waves_beside_jobs), cmocka_unit_test(test_two_batches),
		cmocka_unit_test(test_one_of_two_fails),  cmocka_unit_test(test_map_threads),
		cmocka_unit_test(test_open_threads),	  cmocka_unit_test(test_all_threads),
		cmocka_unit_test(test_two_spaces),
	};

	return cmocka_run_group_tests_name("together", tests, NULL, NULL);
}
