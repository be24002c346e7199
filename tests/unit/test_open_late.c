/* SPDX-License-Identifier: MIT */
/* Opening devices one of which takes longer than it may: nobody waits for that one. */
#include "host.h"

#define COUNT	 3
#define LIMIT_NS (1000 * MS)

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

struct guest {
	struct host host;
	struct vfb_batch_opts opts;
	struct vfb_device_request requests[COUNT];
	uint64_t begin;
};

static void begin(struct guest *guest, enum vfb_backend backend, uint32_t flags)
{
	*guest = (struct guest){
		.opts = {.size = sizeof(guest->opts), .timeout_ns = LIMIT_NS, .flags = flags},
	};
	host_ready_slow(&guest->host, backend, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		guest->requests[i].address = addresses[i];
	guest->begin = fake_now(guest->host.fake);
}

static uint64_t passed(struct guest *guest)
{
	return fake_now(guest->host.fake) - guest->begin;
}

static unsigned int opens_of(struct guest *guest, size_t i)
{
	struct fake_device_stats stats;

	fake_device_stats(guest->host.fake, addresses[i], &stats);
	return stats.opens;
}

/* What hangs is opened and closed behind: until then the space stays, and the requests are left. */
static void end(struct guest *guest, size_t devices)
{
	struct vfb_device_request before[COUNT];

	memcpy(before, guest->requests, sizeof(before));
	assert_fails(vfb_space_destroy(guest->host.space), -EBUSY, "devices are open");
	guest->host.sys->sleep(guest->host.sys, 3 * SLOW_NS);
	assert_memory_equal(before, guest->requests, sizeof(before));
	assert_int_equal(opens_of(guest, COUNT - 1), 0);
	assert_int_equal(info_of(guest->host.space).devices, devices);
	for (size_t i = 0; i < COUNT; i++)
		vfb_device_close(guest->requests[i].device);
	host_close(&guest->host);
}

/* With best effort, what is open stays, and can be used at once. */
static void test_best_effort(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
		struct guest guest;

		begin(&guest, backends[b], VFB_BATCH_BEST_EFFORT);
		assert_fails(vfb_devices_open(guest.host.space, guest.requests, COUNT, &guest.opts),
			     -ETIMEDOUT, "1 of 3", addresses[COUNT - 1], "timeout_ns");
		assert_in_range(passed(&guest), LIMIT_NS, LIMIT_NS + 100 * MS);
		for (size_t i = 0; i < COUNT - 1; i++) {
			assert_int_equal(guest.requests[i].status, 0);
			assert_non_null(guest.requests[i].device);
			assert_int_equal(opens_of(&guest, i), 1);
		}
		assert_int_equal(guest.requests[COUNT - 1].status, -ETIMEDOUT);
		assert_null(guest.requests[COUNT - 1].device);
		range.memory = make_memory(&guest.host, 2 * MIB, VFB_PAGE_4K);
		assert_ok(vfb_space_map(guest.host.space, &range, 1, NULL));
		assert_mapped(&guest.host, &range);
		assert_ok(vfb_space_unmap(guest.host.space, &range, 1, NULL));
		assert_in_range(passed(&guest), LIMIT_NS, 2 * LIMIT_NS);
		assert_ok(vfb_memory_destroy(range.memory));
		end(&guest, COUNT - 1);
	}
}

/* The deadline holds even if every thread that waits for devices hangs: here the only one. */
static void test_every_sleeper_hangs(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;

		begin(&guest, backends[b], VFB_BATCH_BEST_EFFORT);
		guest.opts.width = 1;
		assert_fails(vfb_devices_open(guest.host.space, guest.requests, COUNT, &guest.opts),
			     -ETIMEDOUT, "1 of 3", addresses[COUNT - 1]);
		assert_in_range(passed(&guest), LIMIT_NS, LIMIT_NS + 100 * MS);
		assert_non_null(guest.requests[0].device);
		assert_int_equal(info_of(guest.host.space).devices, COUNT - b);
		end(&guest, COUNT - 1);
	}
}

/* All or nothing: the caller gets none, at the deadline. */
static void test_all_or_nothing(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;

		begin(&guest, backends[b], 0);
		assert_fails(vfb_devices_open(guest.host.space, guest.requests, COUNT, &guest.opts),
			     -ETIMEDOUT, "1 of 3", addresses[COUNT - 1]);
		assert_in_range(passed(&guest), LIMIT_NS, LIMIT_NS + 100 * MS);
		for (size_t i = 0; i < COUNT; i++) {
			assert_int_equal(guest.requests[i].status,
					 i < COUNT - 1 ? -ECANCELED : -ETIMEDOUT);
			assert_null(guest.requests[i].device);
		}
		end(&guest, 0);
	}
}

/* One fails while another hangs; then what is open is closed, which takes long too. */
static void test_undoing(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;

		begin(&guest, backends[b], 0);
		guest.requests[0].address = addresses[COUNT];
		guest.opts.timeout_ns = SLOW_NS + LIMIT_NS;
		/* The slow one is on its way when it is found that the other is not there. */
		fake_add_device(guest.host.fake, &(struct fake_device){
							 .address = addresses[COUNT],
							 .group = COUNT + 1,
							 .driver = "vfio-pci",
							 .bridge = "0000:00:04.0",
						 });
		fake_fail_call(guest.host.fake,
			       b ? "VFIO_DEVICE_BIND_IOMMUFD" : "VFIO_GROUP_GET_DEVICE_FD", 1, EIO);
		fake_fail_delay(guest.host.fake, 500 * MS);
		assert_fails(vfb_devices_open(guest.host.space, guest.requests, COUNT, &guest.opts),
			     -EIO, "device 0000:0");
		/* Not the 20 s that it takes to open and close the slow one. */
		assert_true(passed(&guest) <= SLOW_NS + LIMIT_NS + 100 * MS);
		for (size_t i = 0; i < COUNT; i++)
			assert_null(guest.requests[i].device);
		if (passed(&guest) < SLOW_NS + LIMIT_NS)
			host_close(&guest.host);
		else
			end(&guest, 0);
	}
}

/* A job that nobody waits for; and one that is destroyed when it is late. */
static void test_job(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_job *job;
		struct guest guest;

		begin(&guest, backends[b], VFB_BATCH_BEST_EFFORT);
		assert_ok(vfb_devices_open_start(guest.host.space, guest.requests, COUNT,
						 &guest.opts, &job));
		assert_true(fake_poll(guest.host.fake, vfb_job_fd(job), 2 * LIMIT_NS));
		assert_fails(vfb_job_wait(job, 0), -ETIMEDOUT, "1 of 3");
		vfb_job_cancel(job);
		if (b)
			guest.host.sys->sleep(guest.host.sys, 3 * SLOW_NS);
		assert_fails(vfb_job_wait(job, 0), -ETIMEDOUT, "1 of 3");
		vfb_job_destroy(job);
		if (!b)
			guest.host.sys->sleep(guest.host.sys, 3 * SLOW_NS);
		assert_int_equal(info_of(guest.host.space).devices, COUNT - 1);
		for (size_t i = 0; i < COUNT; i++)
			vfb_device_close(guest.requests[i].device);
		host_close(&guest.host);
	}
}

/* What a device lacks right after it was bound comes by itself, or is not waited for long. */
static void test_appearing(void **state)
{
	static const struct {
		const char *call;
		int error;
	} cases[2][3] = {
		{{"open:/dev/vfio/1", ENOENT},
		 {"VFIO_GROUP_GET_DEVICE_FD", ENODEV},
		 {"VFIO_GROUP_GET_DEVICE_FD", EAGAIN}},
		{{"open:/dev/vfio/devices/vfio0", ENODEV},
		 {"VFIO_DEVICE_BIND_IOMMUFD", ENODEV},
		 {"VFIO_DEVICE_BIND_IOMMUFD", EAGAIN}},
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases[0]); i++) {
		size_t b = i % 2;
		struct vfb_device *device;
		struct host host;
		uint64_t start;

		host_open(&host, NULL);
		add_devices(host.fake, 1);
		host_space(&host, backends[b]);
		for (unsigned int nth = 1; nth <= 3; nth++)
			fake_fail_call(host.fake, cases[b][i / 2].call, nth, cases[b][i / 2].error);
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		vfb_device_close(device);
		fake_fail_none(host.fake);

		fake_fail_call(host.fake, cases[b][i / 2].call, 0, cases[b][i / 2].error);
		if (b && i / 2 == 0)
			fake_fail_call(host.fake, "open:/dev/vfio/1", 0, ENOENT);
		start = fake_now(host.fake);
		assert_int_not_equal(vfb_device_open(host.space, addresses[0], &device), 0);
		assert_in_range(fake_now(host.fake) - start, 900 * MS,
				cases[b][i / 2].error == EAGAIN ? 6000 * MS : 1100 * MS);
		host_close(&host);
	}
}

/* Ends when a map job ends: starts another one with a deadline, as a VMM may from a callback. */
struct follower {
	struct guest *guest;
	struct vfb_range range;
	struct vfb_job *job;
};

static void follow(const struct vfb_event *event, void *data)
{
	struct follower *follower = data;
	struct guest *guest = follower->guest;

	assert_int_equal(fake_locks_held(), 0);
	if (strcmp(event->operation, "map") || follower->job)
		return;
	assert_ok(vfb_space_map_start(guest->host.space, &follower->range, 1, &guest->opts,
				      &follower->job));
}

/* The deadline ends the wait for a domain, and with it a map job, whose event calls the library. */
static void test_callback(void **state)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
	struct vfb_subscription *subscription;
	struct follower follower = {0};
	struct vfb_job *opening, *mapping;
	struct guest guest;

	(void)state;
	begin(&guest, VFB_BACKEND_IOMMUFD, 0);
	range.memory = make_memory(&guest.host, 4 * MIB, VFB_PAGE_4K);
	follower.guest = &guest;
	follower.range = range;
	follower.range.offset = 2 * MIB;
	follower.range.iova = 2 * GIB;
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_JOB);
	assert_ok(vfb_subscribe(guest.host.ctx, &filter, follow, &follower, &subscription));
	assert_ok(vfb_devices_open_start(guest.host.space, &guest.requests[COUNT - 1], 1,
					 &guest.opts, &opening));
	assert_ok(vfb_space_map_start(guest.host.space, &range, 1, NULL, &mapping));
	assert_ok(vfb_job_wait(mapping, UINT64_MAX));
	assert_int_equal(vfb_job_wait(opening, UINT64_MAX), -ETIMEDOUT);
	assert_in_range(passed(&guest), LIMIT_NS, LIMIT_NS + 100 * MS);
	vfb_job_destroy(mapping);
	vfb_job_destroy(opening);
	assert_non_null(follower.job);
	assert_ok(vfb_job_wait(follower.job, UINT64_MAX));
	vfb_job_destroy(follower.job);
	vfb_unsubscribe(subscription);
	assert_ok(vfb_space_unmap_all(guest.host.space));
	assert_ok(vfb_memory_destroy(range.memory));
	end(&guest, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_callback),
		cmocka_unit_test(test_best_effort),
		cmocka_unit_test(test_every_sleeper_hangs),
		cmocka_unit_test(test_all_or_nothing),
		cmocka_unit_test(test_undoing),
		cmocka_unit_test(test_job),
		cmocka_unit_test(test_appearing),
	};

	return cmocka_run_group_tests_name("open_late", tests, NULL, NULL);
}
