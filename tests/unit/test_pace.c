/* SPDX-License-Identifier: MIT */
/* The rate limit of populating, and the rate that a job reports. */
#include "host.h"

static struct vfb_job_progress progress_of(struct vfb_job *job)
{
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;

	assert_ok(vfb_job_progress(job, &progress));
	return progress;
}

static void test_refused(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_ctx_set_populate_rate(host.ctx, 0), -EINVAL, "0 bytes per second", "1 MiB",
		     "UINT64_MAX");
	assert_fails(vfb_ctx_set_populate_rate(host.ctx, MIB - 1), -EINVAL, "1048575 bytes");
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, MIB));
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, UINT64_MAX));
	host_close(&host);
}

/* The workers together keep to it. */
static void test_rate(void **state)
{
	struct vfb_memory *memory;
	struct host host;
	uint64_t begin;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, 256 * MIB));
	memory = make_memory(&host, GIB, VFB_PAGE_4K);
	begin = fake_now(host.fake);
	assert_ok(vfb_memory_populate(memory));
	assert_in_range(fake_now(host.fake) - begin, 3950 * MS, 4050 * MS);
	/* What is there already costs nothing. */
	begin = fake_now(host.fake);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(fake_now(host.fake), begin);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* A limit that is lifted holds up nobody any more. */
static void test_change(void **state)
{
	struct vfb_memory *memory;
	struct vfb_job *job;
	struct host host;
	uint64_t begin;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, MIB));
	memory = make_memory(&host, GIB, VFB_PAGE_4K);
	begin = fake_now(host.fake);
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	host.sys->sleep(host.sys, 1000 * MS);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, UINT64_MAX));
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	assert_in_range(fake_now(host.fake) - begin, 1000 * MS, 1400 * MS);
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Soon, however slow it goes. */
static void test_cancel(void **state)
{
	struct vfb_memory *memory;
	struct vfb_job *job;
	struct host host;
	uint64_t begin;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, MIB));
	memory = make_memory(&host, GIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	host.sys->sleep(host.sys, 3000 * MS);
	begin = fake_now(host.fake);
	vfb_job_cancel(job);
	assert_fails(vfb_job_wait(job, UINT64_MAX), -ECANCELED, "cancelled");
	assert_true(fake_now(host.fake) - begin <= 100 * MS);
	assert_in_range(populated_of(memory), 2 * MIB, 6 * MIB);
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_progress(void **state)
{
	struct vfb_job_progress progress;
	struct vfb_memory *memory;
	struct vfb_job *job;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_ctx_set_populate_rate(host.ctx, 100 * MIB));
	memory = make_memory(&host, GIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	progress = progress_of(job);
	assert_int_equal(progress.bytes, GIB);
	assert_int_equal(progress.bytes_per_s, 0);
	assert_true(progress.remaining_ns == UINT64_MAX);
	host.sys->sleep(host.sys, 5000 * MS);
	progress = progress_of(job);
	assert_in_range(progress.bytes_done, 490 * MIB, 510 * MIB);
	assert_in_range(progress.bytes_per_s, 98 * MIB, 102 * MIB);
	assert_in_range(progress.remaining_ns, 5000 * MS, 5500 * MS);
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	progress = progress_of(job);
	assert_int_equal(progress.bytes_done, GIB);
	assert_int_equal(progress.remaining_ns, 0);
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),	 cmocka_unit_test(test_rate),
		cmocka_unit_test(test_change),	 cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_progress),
	};

	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
