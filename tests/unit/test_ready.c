/* SPDX-License-Identifier: MIT */
/* Priorities, what is in the background, waiting for one range, and time that runs out. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define COUNT 4

/* A guest of four ranges of 2 GiB, the last two in the background. */
struct guest {
	struct host host;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct vfb_range ranges[COUNT];
};

static void start(struct guest *guest, enum vfb_backend backend)
{
	host_start(&guest->host, NULL, backend, 1, &guest->device);
	guest->memory = make_memory(&guest->host, COUNT * 2 * GIB, VFB_PAGE_4K);
	for (uint64_t i = 0; i < COUNT; i++)
		guest->ranges[i] = (struct vfb_range){
			.memory = guest->memory,
			.offset = i * 2 * GIB,
			.bytes = 2 * GIB,
			.iova = (i + 2) * 2 * GIB,
			.flags = i >= 2 ? VFB_RANGE_BACKGROUND : 0,
		};
}

static void end(struct guest *guest)
{
	assert_int_equal(info_of(guest->host.space).mappings, 0);
	assert_int_equal(stats_of(&guest->host).mappings, 0);
	host_end(&guest->host, guest->device, guest->memory);
}

static struct vfb_job *map(struct guest *guest, const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	assert_ok(vfb_space_map_start(guest->host.space, guest->ranges, COUNT, opts, &job));
	return job;
}

/* Ready when the first half is mapped; the rest follows. */
static void test_background(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;
		struct vfb_job *job;

		start(&guest, backends[b]);
		job = map(&guest, NULL);
		assert_int_not_equal(vfb_job_ready_fd(job), vfb_job_fd(job));
		assert_fails(vfb_job_wait_ready(job, MS), -ETIMEDOUT, "not ready");
		assert_true(fake_poll(guest.host.fake, vfb_job_ready_fd(job), UINT64_MAX));
		assert_ok(vfb_job_wait_ready(job, 0));
		assert_false(fake_poll(guest.host.fake, vfb_job_fd(job), 0));
		for (size_t i = 0; i < 2; i++) {
			assert_mapped(&guest.host, &guest.ranges[i]);
			assert_ok(vfb_job_wait_entry(job, i, 0));
			assert_fails(vfb_job_wait_entry(job, i + 2, 0), -ETIMEDOUT, "entry");
		}
		assert_int_equal(populated_of(guest.memory) / GIB, 4);
		/* What is ready can be unmapped while the rest goes on. */
		assert_ok(vfb_space_unmap(guest.host.space, guest.ranges, 1, NULL));
		assert_ok(vfb_job_wait_entry(job, 2, UINT64_MAX));
		assert_mapped(&guest.host, &guest.ranges[2]);
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		assert_fails(vfb_job_wait_entry(job, COUNT, 0), -EINVAL, "no entry 4");
		vfb_job_destroy(job);
		assert_ok(vfb_space_unmap(guest.host.space, &guest.ranges[1], COUNT - 1, NULL));
		end(&guest);
	}
}

/* A cancel, or a failure, in the background leaves what is ready. */
static void test_background_ends(void **state)
{
	static const char *const maps[] = {"VFIO_IOMMU_MAP_DMA", "IOMMU_IOAS_MAP"};

	(void)state;
	for (size_t b = 0; b < 4; b++) {
		bool cancel = b >= 2;
		struct guest guest;
		struct vfb_job *job;
		int error;

		start(&guest, backends[b % 2]);
		job = map(&guest, NULL);
		assert_ok(vfb_job_wait_ready(job, UINT64_MAX));
		if (cancel)
			vfb_job_cancel(job);
		else
			fake_fail_call(guest.host.fake, maps[b % 2], 1, EFAULT);
		error = cancel ? -ECANCELED : -EFAULT;
		assert_int_equal(vfb_job_wait(job, UINT64_MAX), error);
		assert_ok(vfb_job_wait_ready(job, 0));
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(guest.ranges[i].status, 0);
			assert_mapped(&guest.host, &guest.ranges[i]);
			assert_true(guest.ranges[i + 2].status == error ||
				    guest.ranges[i + 2].status == -ECANCELED);
			assert_int_equal(vfb_job_wait_entry(job, i + 2, 0),
					 guest.ranges[i + 2].status);
			assert_not_mapped(&guest.host, guest.ranges[i + 2].iova);
		}
		vfb_job_destroy(job);
		assert_int_equal(info_of(guest.host.space).mappings, 2);
		assert_ok(vfb_space_unmap(guest.host.space, guest.ranges, 2, NULL));
		end(&guest);
	}
}

/* The last of the caller's ranges comes first. */
static void test_priority(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct guest guest;
		struct vfb_job *job;

		start(&guest, backends[b]);
		for (size_t i = 0; i < COUNT; i++) {
			guest.ranges[i].flags = 0;
			guest.ranges[i].priority = i == 3 ? 10 : -(int)i;
		}
		job = map(&guest, NULL);
		assert_ok(vfb_job_wait_entry(job, 3, UINT64_MAX));
		assert_mapped(&guest.host, &guest.ranges[3]);
		for (size_t i = 1; i < 3; i++)
			assert_fails(vfb_job_wait_entry(job, i, 0), -ETIMEDOUT, "not finished yet");
		/* Without a background, ready is the end. */
		assert_int_equal(vfb_job_ready_fd(job), vfb_job_fd(job));
		assert_ok(vfb_job_wait_ready(job, UINT64_MAX));
		assert_ok(vfb_job_wait(job, 0));
		vfb_job_destroy(job);
		assert_ok(vfb_space_unmap(guest.host.space, guest.ranges, COUNT, NULL));
		end(&guest);
	}
}

/* The first wave of several fails after another has been mapped: both are undone. */
static void test_waves_undone(void **state)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct guest guest;

	(void)state;
	start(&guest, VFB_BACKEND_TYPE1);
	guest.ranges[0].priority = 2;
	guest.ranges[1].priority = 1;
	assert_ok(vfb_space_map_plan(guest.host.space, guest.ranges, 1, NULL, &plan));
	fake_fail_call(guest.host.fake, "VFIO_IOMMU_MAP_DMA", plan.map_calls + 1, EFAULT);
	assert_fails(vfb_space_map(guest.host.space, guest.ranges, COUNT, NULL), -EFAULT,
		     "cannot map");
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(guest.ranges[i].status, i == 1 ? -EFAULT : -ECANCELED);
	end(&guest);
}

/* 8 GiB take 500 ms with 4 workers. */
static void test_timeout(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 200 * MS};
		struct guest guest;
		uint64_t begin;

		start(&guest, backends[b]);
		for (size_t i = 0; i < COUNT; i++)
			guest.ranges[i].flags = 0;
		begin = fake_now(guest.host.fake);
		assert_fails(vfb_space_map(guest.host.space, guest.ranges, COUNT, &opts),
			     -ETIMEDOUT, "timeout_ns");
		assert_in_range(fake_now(guest.host.fake) - begin, 200 * MS, 300 * MS);
		assert_int_equal(info_of(guest.host.space).mappings, 0);
		for (size_t i = 0; i < COUNT; i++)
			assert_int_equal(guest.ranges[i].status, -ECANCELED);
		/* Enough. */
		opts.timeout_ns = 60000 * MS;
		assert_ok(vfb_space_map(guest.host.space, guest.ranges, COUNT, &opts));
		opts.timeout_ns = 1;
		assert_ok(vfb_space_unmap(guest.host.space, guest.ranges, COUNT, &opts));
		end(&guest);
	}
}

/* Nobody waits for it, no device comes: the time is over all the same. */
static void test_timeout_of_waiting(void **state)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .timeout_ns = 50 * MS};
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
	struct vfb_job *open, *map;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	host_space(&host, VFB_BACKEND_IOMMUFD);
	range.memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_devices_open_start(host.space, &request, 1, &opts, &open));
	assert_ok(vfb_space_map_start(host.space, &range, 1, &opts, &map));
	assert_fails(vfb_job_wait(map, UINT64_MAX), -ETIMEDOUT, "timeout_ns");
	assert_fails(vfb_job_wait(open, UINT64_MAX), -ETIMEDOUT, "timeout_ns");
	assert_null(request.device);
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	/* The device is opened and closed behind. */
	host.sys->sleep(host.sys, 1000 * MS);
	host_end(&host, NULL, range.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_background), cmocka_unit_test(test_background_ends),
		cmocka_unit_test(test_priority),   cmocka_unit_test(test_waves_undone),
		cmocka_unit_test(test_timeout),	   cmocka_unit_test(test_timeout_of_waiting),
	};

	return cmocka_run_group_tests_name("ready", tests, NULL, NULL);
}
