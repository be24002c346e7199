/* SPDX-License-Identifier: MIT */
/* Closing devices that take longer than it may: they are closed behind. */
#include <stdatomic.h>

#include "host.h"

#define COUNT 3

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static atomic_uint closed;

static void count_closed(const struct vfb_event *event, void *data)
{
	assert_int_equal(fake_locks_held(), 0);
	(void)event;
	(void)data;
	closed++;
}

struct guest {
	struct host host;
	struct vfb_subscription *subscription;
	struct vfb_device *devices[COUNT];
};

static void begin(struct guest *guest, enum vfb_backend backend)
{
	struct vfb_filter filter = VFB_FILTER_INIT;

	closed = 0;
	host_ready_slow(&guest->host, backend, COUNT);
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_CLOSE);
	assert_ok(
		vfb_subscribe(guest->host.ctx, &filter, count_closed, NULL, &guest->subscription));
	open_devices(&guest->host, COUNT, guest->devices);
}

/* After the deadline: nothing can be destroyed until the last device is closed behind. */
static void end_late(struct guest *guest)
{
	const struct vfb_sys *sys = guest->host.sys;

	assert_int_equal(closed, COUNT - 1);
	assert_fails(vfb_space_destroy(guest->host.space), -EBUSY, "devices are open");
	assert_fails(vfb_ctx_destroy(guest->host.ctx), -EBUSY, "still has");
	sys->sleep(sys, SLOW_NS);
	assert_int_equal(closed, COUNT);
	assert_int_equal(info_of(guest->host.space).devices, 0);
	vfb_unsubscribe(guest->subscription);
	host_close(&guest->host);
}

static void test_late(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 1000 * MS};

	(void)state;
	for (size_t b = 0; b < ARRAY_SIZE(backends); b++) {
		struct guest guest;
		uint64_t start;

		begin(&guest, backends[b]);
		start = fake_now(guest.host.fake);
		assert_fails(vfb_devices_close(guest.devices, COUNT, &opts), -ETIMEDOUT,
			     "1 of 3 devices", addresses[COUNT - 1], "VFB_PHASE_CLOSE");
		assert_int_equal(fake_now(guest.host.fake) - start, 1000 * MS);
		for (size_t i = 0; i < COUNT; i++)
			assert_null(guest.devices[i]);
		assert_ok(vfb_devices_close(guest.devices, COUNT, &opts));
		end_late(&guest);
	}
}

/* Its file descriptor becomes readable at the deadline, and each entry can be polled. */
static void test_job(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 1000 * MS};
	struct vfb_device *devices[COUNT + 1];
	struct guest guest;
	struct vfb_job *job;
	uint64_t start;

	(void)state;
	begin(&guest, VFB_BACKEND_IOMMUFD);
	devices[0] = NULL;
	memcpy(devices + 1, guest.devices, sizeof(guest.devices));
	start = fake_now(guest.host.fake);
	assert_ok(vfb_devices_close_start(devices, COUNT + 1, &opts, &job));
	assert_fails(vfb_job_wait_entry(job, 0, 0), -ETIMEDOUT, "not finished yet");
	assert_ok(vfb_job_wait_entry(job, 0, UINT64_MAX));
	assert_int_equal(fake_now(guest.host.fake) - start, 100 * MS);
	assert_true(fake_poll(guest.host.fake, vfb_job_fd(job), UINT64_MAX));
	assert_int_equal(fake_now(guest.host.fake) - start, 1000 * MS);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ETIMEDOUT, "1 of 3");
	assert_ok(vfb_job_wait_entry(job, 1, UINT64_MAX));
	assert_fails(vfb_job_wait_entry(job, 2, UINT64_MAX), -ETIMEDOUT, "1 of 3");
	assert_fails(vfb_job_wait_entry(job, 3, UINT64_MAX), -EINVAL, "no entry 3");
	vfb_job_destroy(job);
	assert_int_equal(fake_now(guest.host.fake) - start, 1000 * MS);
	end_late(&guest);
}

/* Whoever keeps the job sees that it ends. */
static void test_kept(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 1};
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
	struct guest guest;
	struct vfb_job *job;

	(void)state;
	begin(&guest, VFB_BACKEND_TYPE1);
	assert_ok(vfb_devices_close_start(guest.devices, COUNT, &opts, &job));
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ETIMEDOUT, "3 of 3", addresses[0]);
	guest.host.sys->sleep(guest.host.sys, SLOW_NS);
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries_done, COUNT);
	assert_int_equal(closed, COUNT);
	assert_ok(vfb_job_wait_entry(job, 2, 0));
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ETIMEDOUT, "3 of 3");
	vfb_job_destroy(job);
	vfb_unsubscribe(guest.subscription);
	host_close(&guest.host);
}

/* Closed, but a job maps in the space that they leave. */
static void test_late_detach(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 500 * MS};
	struct vfb_range range = {.bytes = 16 * GIB, .iova = 4 * GIB};
	struct vfb_device *device;
	struct vfb_job *mapping;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
	assert_ok(vfb_space_map_start(host.space, &range, 1, NULL, &mapping));
	assert_fails(vfb_devices_close(&device, 1, &opts), -ETIMEDOUT, "not detached yet");
	assert_ok(vfb_job_wait(mapping, UINT64_MAX));
	vfb_job_destroy(mapping);
	host.sys->sleep(host.sys, 1000 * MS);
	assert_int_equal(info_of(host.space).devices, 0);
	host_end(&host, NULL, range.memory);
}

static void test_in_time(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 2 * SLOW_NS};
	struct guest guest;

	(void)state;
	begin(&guest, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_devices_close(guest.devices, COUNT, &opts));
	assert_int_equal(closed, COUNT);
	vfb_unsubscribe(guest.subscription);
	host_close(&guest.host);
}

/* Without a thread that looks at the clock they are closed, however long that takes. */
static void test_no_thread(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 1000 * MS};
	struct guest guest;
	struct vfb_job *job = (void *)1;

	(void)state;
	begin(&guest, VFB_BACKEND_TYPE1);
	fake_fail_call(guest.host.fake, "thread_create", 1, EAGAIN);
	assert_fails(vfb_devices_close_start(guest.devices, COUNT, &opts, &job), -EAGAIN,
		     "timeout");
	assert_null(job);
	assert_non_null(guest.devices[0]);
	fake_fail_call(guest.host.fake, "thread_create", 1, EAGAIN);
	assert_fails(vfb_devices_close(guest.devices, COUNT, &opts), -EAGAIN, "timeout");
	assert_null(guest.devices[0]);
	assert_int_equal(closed, COUNT);
	vfb_unsubscribe(guest.subscription);
	host_close(&guest.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late),	cmocka_unit_test(test_job),
		cmocka_unit_test(test_kept),	cmocka_unit_test(test_late_detach),
		cmocka_unit_test(test_in_time), cmocka_unit_test(test_no_thread),
	};

	return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
