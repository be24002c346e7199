/* SPDX-License-Identifier: MIT */
/* Spaces and devices for which faults cannot be handled. */
#include "host.h"

static int make_fault_space(struct host *host, const struct vfb_space_opts *opts)
{
	struct vfb_space_opts used = *opts;

	used.size = sizeof(used);
	used.backend = VFB_BACKEND_IOMMUFD;
	used.on_demand = VFB_ON_DEMAND_FAULT;
	return vfb_space_create(host->ctx, &used, &host->space);
}

/* Each call of starting fails once. */
static void test_start_failures(void **state)
{
	unsigned int n = 0;
	int error;

	(void)state;
	do {
		struct host host;

		host_open(&host, NULL);
		fake_fail_nth(host.fake, ++n, 0);
		error = make_fault_space(&host, &(struct vfb_space_opts){.fault_ahead = 4});
		fake_fail_none(host.fake);
		host_close(&host);
	} while (error);
	assert_true(n > 5);
}

static void assert_not_opened(struct host *host, const char *why)
{
	struct vfb_device *device;

	assert_ok(make_fault_space(host, &(struct vfb_space_opts){.fault_ahead = 4}));
	assert_fails(vfb_device_open(host->space, addresses[0], &device), -ENOTSUP, addresses[0],
		     why, "VFB_ON_DEMAND_TOUCH");
	host_close(host);
}

/* Devices whose faults nobody reports, or without proof that somebody does. */
static void test_unproved(void **state)
{
	const struct fake_config scalable = {.no_scalable = true}, old = {.no_faults = true};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_faulting_device(host.fake, "0000:02:00.0");
	assert_not_opened(&host, "virtual function");
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_not_opened(&host, "PRI");
	host_open(&host, &scalable);
	add_faulting_device(host.fake, NULL);
	assert_not_opened(&host, "ecap");
	host_open(&host, &old);
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.fault_ahead = 4}), -ENOTSUP,
		     "6.13");
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.fault_threads = 65}),
		     -EINVAL, "65");
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.fault_ahead = 65537}),
		     -EINVAL, "65537");
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.fault_fd = 5}), -EINVAL,
		     "vfb_space_adopt");
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.fault_fd = -1}), -EINVAL,
		     "-1");
	assert_fails(make_fault_space(&host, &(struct vfb_space_opts){.flags = VFB_SPACE_DIRTY}),
		     -ENOTSUP, "VFB_ON_DEMAND_FAULT");
	opts.backend = VFB_BACKEND_NONE;
	opts.on_demand = VFB_ON_DEMAND_FAULT;
	assert_fails(vfb_space_create(host.ctx, &opts, &host.space), -ENOTSUP, "IOMMU");
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_failures),
		cmocka_unit_test(test_unproved),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
