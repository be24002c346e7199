/* SPDX-License-Identifier: MIT */
/* Devices are reset at the same time where they can be, and never skipped: on the virtual clock. */
#include "host.h"

#define RESET (100 * MS)
/* What is not a reset: lookups, attaching; nothing in the fake costs time there. */
#define SLACK MS

struct times {
	uint64_t open, close;
	struct fake_stats stats;
};

static void assert_about(uint64_t time, uint64_t expected)
{
	if (time < expected || time > expected + SLACK)
		fail_msg("took %llu us instead of %llu", (unsigned long long)time / 1000,
			 (unsigned long long)expected / 1000);
}

/* Opens and closes all devices of the machine, whose names are given, in one batch each. */
static struct times time_batch(struct host *host, const char *const *names, size_t count,
			       unsigned int width)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .width = width};
	struct vfb_device_request *requests = calloc(count, sizeof(*requests));
	struct vfb_device **devices = calloc(count, sizeof(*devices));
	unsigned int resets = stats_of(host).resets;
	uint64_t begin = fake_now(host->fake);
	struct times times;

	for (size_t i = 0; i < count; i++)
		requests[i].address = names[i];
	assert_ok(vfb_devices_open(host->space, requests, count, &opts));
	times.open = fake_now(host->fake) - begin;
	for (size_t i = 0; i < count; i++)
		devices[i] = requests[i].device;
	begin = fake_now(host->fake);
	assert_ok(vfb_devices_close(devices, count, &opts));
	times.close = fake_now(host->fake) - begin;
	times.stats = stats_of(host);
	assert_int_equal(times.stats.resets - resets, 2 * count);
	assert_int_equal(times.stats.skipped_resets, 0);
	free(requests);
	free(devices);
	return times;
}

static struct times time_devices(enum vfb_backend backend, const struct fake_config *config,
				 bool one_bridge, unsigned int width)
{
	struct times times;
	struct host host;

	host_open(&host, config);
	if (!one_bridge)
		add_devices(host.fake, 8);
	for (unsigned int i = 0; one_bridge && i < 8; i++)
		add_device(host.fake, addresses[i], i + 1, "0000:00:01.0");
	host_space(&host, backend);
	times = time_batch(&host, addresses, 8, width);
	host_close(&host);
	return times;
}

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static void test_own_bridges(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct times times = time_devices(backends[i], NULL, false, 0);

		assert_about(times.open, RESET);
		assert_about(times.close, RESET);
		assert_int_equal(times.stats.max_resets_at_once, 8);
	}
}

/* Reset at the same time, some would be skipped; Linux 7.0 and later. */
static void test_one_bridge(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct times times = time_devices(backends[i], NULL, true, 0);

		assert_about(times.open, 8 * RESET);
		assert_about(times.close, 8 * RESET);
		assert_int_equal(times.stats.max_resets_at_once, 1);
	}
}

/*
 * Virtual functions have a dev_set each (Linux 6.17), so that nothing but the library keeps the
 * resets of those below one bridge from meeting.
 */
static void add_virtual_functions(struct fake *fake)
{
	for (unsigned int vf = 0; vf < 8; vf++)
		fake_add_device(fake, &(struct fake_device){
					      .address = addresses[vf],
					      .group = vf + 1,
					      .bridge = "0000:00:01.0",
					      .physfn = "0000:09:00.0",
					      .driver = "vfio-pci",
				      });
}

static void test_virtual_functions(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct times times;
		struct host host;

		host_open(&host, NULL);
		add_virtual_functions(host.fake);
		host_space(&host, backends[i]);
		times = time_batch(&host, addresses, 8, 0);
		assert_about(times.close, 8 * RESET);
		host_close(&host);
	}
}

/* Nor do they when each is closed by a job of its own. */
static void test_several_jobs(void **state)
{
	struct vfb_device *devices[8];
	struct vfb_job *jobs[8];
	struct host host;
	uint64_t begin;

	(void)state;
	host_open(&host, NULL);
	add_virtual_functions(host.fake);
	host_space(&host, VFB_BACKEND_TYPE1);
	open_devices(&host, 8, devices);
	begin = fake_now(host.fake);
	for (size_t i = 0; i < 7; i++)
		assert_ok(vfb_devices_close_start(&devices[i], 1, NULL, &jobs[i]));
	assert_ok(vfb_device_close(devices[7]));
	for (size_t i = 0; i < 7; i++)
		vfb_job_destroy(jobs[i]);
	assert_about(fake_now(host.fake) - begin, 8 * RESET);
	assert_int_equal(stats_of(&host).skipped_resets, 0);
	host_close(&host);
}

static void test_old_kernel(void **state)
{
	struct fake_config config = {.old_close = true};

	(void)state;
	assert_about(time_devices(VFB_BACKEND_TYPE1, &config, true, 0).close, 8 * RESET);
	assert_about(time_devices(VFB_BACKEND_TYPE1, &config, false, 0).close, RESET);
}

static void test_width(void **state)
{
	struct times times;

	(void)state;
	times = time_devices(VFB_BACKEND_TYPE1, NULL, false, 1);
	assert_about(times.open, 8 * RESET);
	assert_about(times.close, 8 * RESET);
	times = time_devices(VFB_BACKEND_IOMMUFD, NULL, false, 3);
	assert_about(times.open, 3 * RESET);
	assert_about(times.close, 3 * RESET);
	assert_int_equal(times.stats.max_resets_at_once, 3);
}

/* On the root bus there is no bridge to share: functions of one device belong together. */
static void test_root_bus(void **state)
{
	static const char *const names[] = {"0000:00:05.0", "0000:00:05.1", "0000:00:06.0"};
	struct times times;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	for (unsigned int i = 0; i < 3; i++)
		add_device(host.fake, names[i], i + 1, NULL);
	host_space(&host, VFB_BACKEND_IOMMUFD);
	times = time_batch(&host, names, 3, 0);
	assert_about(times.open, 2 * RESET);
	assert_about(times.close, 2 * RESET);
	assert_int_equal(times.stats.max_resets_at_once, 2);
	host_close(&host);
}

/* The slowest counts, not the sum. */
static void test_slowest(void **state)
{
	static const char *const names[] = {"0000:01:00.0", "0000:02:00.0", "0000:02:00.1"};
	static const uint64_t resets[] = {1000 * MS, 300 * MS, 400 * MS};
	static const char *const bridges[] = {"0000:00:01.0", "0000:00:02.0", "0000:00:02.0"};
	struct times times;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	for (unsigned int i = 0; i < 3; i++)
		fake_add_device(host.fake, &(struct fake_device){.address = names[i],
								 .group = i + 1,
								 .bridge = bridges[i],
								 .reset_ns = resets[i],
								 .driver = "vfio-pci"});
	host_space(&host, VFB_BACKEND_TYPE1);
	times = time_batch(&host, names, 3, 0);
	assert_about(times.open, 1000 * MS);
	assert_about(times.close, 1000 * MS);
	host_close(&host);
}

/* More than there are threads to wait for them: in turns, all of them. */
static void test_many(void **state)
{
	char names[100][32], bridge[32];
	const char *pointers[100];
	struct times times;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(names[i], sizeof(names[i]), "0000:%02x:00.0", i + 1);
		snprintf(bridge, sizeof(bridge), "0000:00:%02x.%u", i / 8, i % 8);
		add_device(host.fake, names[i], i + 1, bridge);
		pointers[i] = names[i];
	}
	host_space(&host, VFB_BACKEND_TYPE1);
	times = time_batch(&host, pointers, 100, 0);
	assert_about(times.open, 2 * RESET);
	assert_about(times.close, 2 * RESET);
	host_close(&host);
}

/* Threads are refused: those that there are do the work. */
static void test_few_threads(void **state)
{
	struct times times;
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 8);
	fake_fail_call(host.fake, "thread_create", 3, 0);
	times = time_batch(&host, addresses, 8, 0);
	assert_about(times.open, 4 * RESET);
	assert_non_null(fake_failed(host.fake));
	host_close(&host);
}

/* However often devices come and go, there are no more threads than are needed at once. */
static void test_threads_stay(void **state)
{
	struct times times;
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 8);
	for (int round = 0; round < 5; round++) {
		struct vfb_device *devices[8];

		open_devices(&host, 8, devices);
		close_devices(devices, 8);
		assert_int_equal(stats_of(&host).threads, 4 + 8);
	}
	/* That there are more is no reason to use them. */
	times = time_batch(&host, addresses, 8, 3);
	assert_about(times.open, 3 * RESET);
	assert_about(times.close, 3 * RESET);
	host_close(&host);
}

/* The kernel could not take a lock (EAGAIN): tried again. */
static void test_open_again(void **state)
{
	struct vfb_device *device;
	struct host host;
	uint64_t begin;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 1);
	fake_fail_call(host.fake, "VFIO_GROUP_GET_DEVICE_FD", 1, EAGAIN);
	begin = fake_now(host.fake);
	assert_ok(vfb_device_open(host.space, addresses[0], &device));
	assert_true(fake_now(host.fake) - begin < RESET + 50 * MS);
	vfb_device_close(device);
	/* But not for ever. */
	fake_fail_call(host.fake, "VFIO_GROUP_GET_DEVICE_FD", 0, EAGAIN);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EAGAIN, addresses[0]);
	assert_null(device);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_bridges),
		cmocka_unit_test(test_one_bridge),
		cmocka_unit_test(test_virtual_functions),
		cmocka_unit_test(test_several_jobs),
		cmocka_unit_test(test_old_kernel),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_root_bus),
		cmocka_unit_test(test_slowest),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_few_threads),
		cmocka_unit_test(test_threads_stay),
		cmocka_unit_test(test_open_again),
	};

	return cmocka_run_group_tests_name("resets", tests, NULL, NULL);
}
