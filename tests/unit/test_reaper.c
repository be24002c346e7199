/* SPDX-License-Identifier: MIT */
/* A reaper, as far as the library has to do with it; tests/vm has it do its work. */
#include "host.h"

#define PROGRAM "/usr/libexec/reaper"

static struct vfb_reaper_opts opts_with(const char *program)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;

	opts.program = program;
	return opts;
}

/* The reaper knows which devices share a reset, and holds them. */
static void test_start(void **state)
{
	struct vfb_reaper_opts opts = opts_with(PROGRAM);
	struct fake_device_stats stats;
	struct vfb_device *devices[4];
	struct vfb_reaper *reaper;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_device(host.fake, addresses[0], 1, "0000:00:01.0");
	add_device(host.fake, addresses[1], 2, "0000:00:02.0");
	add_device(host.fake, addresses[2], 3, "0000:00:01.0");
	add_device(host.fake, addresses[3], 4, NULL);
	host_space(&host, VFB_BACKEND_TYPE1);
	open_devices(&host, 4, devices);
	assert_ok(vfb_reaper_start(devices, 4, &opts, &reaper));
	assert_string_equal(fake_helper(host.fake),
			    PROGRAM " silent 77 0@0000:01:00.0 1@0000:02:00.0 0@0000:03:00.0 "
				    "3@0000:04:00.0");
	assert_fails(vfb_ctx_destroy(host.ctx), -EBUSY, "still has");
	/* While it holds them, closing resets nothing. */
	vfb_device_close(devices[3]);
	fake_device_stats(host.fake, addresses[3], &stats);
	assert_int_equal(stats.close_resets, 0);
	vfb_reaper_destroy(reaper);
	assert_null(fake_helper(host.fake));
	fake_device_stats(host.fake, addresses[3], &stats);
	assert_int_equal(stats.close_resets, 1);
	/* And then it does. */
	close_devices(devices, 3);
	fake_device_stats(host.fake, addresses[0], &stats);
	assert_int_equal(stats.close_resets, 1);
	vfb_reaper_destroy(NULL);
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_reaper_opts opts = opts_with("/nonexistent");
	struct vfb_device *devices[2], *many[257];
	struct vfb_reaper *reaper = (void *)1;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, devices);
	devices[1] = NULL;
	assert_fails(vfb_reaper_start(devices, 0, NULL, &reaper), -EINVAL, "not 0");
	assert_null(reaper);
	assert_fails(vfb_reaper_start(many, 257, NULL, &reaper), -EINVAL, "not 257");
	assert_fails(vfb_reaper_start(devices, 2, NULL, &reaper), -EINVAL, "entry 1");
	opts.flags = 1u << 31;
	assert_fails(vfb_reaper_start(devices, 1, &opts, &reaper), -EINVAL, "0x80000000");
	opts.flags = 0;
	fake_fail_call(host.fake, "pipe", 1, EMFILE);
	assert_fails(vfb_reaper_start(devices, 1, NULL, &reaper), -EMFILE, "pipe");
	fake_fail_call(host.fake, "spawn", 1, ENOENT);
	assert_fails(vfb_reaper_start(devices, 1, &opts, &reaper), -ENOENT, "/nonexistent");
	assert_null(reaper);
	/* One that has died by itself can be stopped all the same. */
	assert_ok(vfb_reaper_start(devices, 1, NULL, &reaper));
	fake_fail_call(host.fake, "write", 1, EPIPE);
	vfb_reaper_destroy(reaper);
	close_devices(devices, 1);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("reaper", tests, NULL, NULL);
}
