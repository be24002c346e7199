/* SPDX-License-Identifier: MIT */
/* Explicit resets: the way that is chosen, what is refused, how long many take. */
#include "host.h"

#define RESET  (100 * MS)
#define BRIDGE "0000:00:01.0"

/* So many devices below one bridge, in groups of their own, open in one space. */
struct fixture {
	struct host host;
	size_t count;
	struct vfb_device *devices[4];
	struct vfb_reset_request resets[4];
};

static void begin(struct fixture *f, enum vfb_backend backend, size_t count,
		  const struct fake_device *also)
{
	*f = (struct fixture){.count = count};
	host_open(&f->host, NULL);
	for (size_t i = 0; i < count; i++) {
		struct fake_device config = *also;

		config.address = addresses[i];
		config.group = i + 1;
		config.bridge = BRIDGE;
		config.driver = "vfio-pci";
		fake_add_device(f->host.fake, &config);
	}
	host_space(&f->host, backend);
	open_devices(&f->host, count, f->devices);
	for (size_t i = 0; i < count; i++)
		f->resets[i].device = f->devices[i];
}

static void end(struct fixture *f)
{
	close_devices(f->devices, f->count);
	host_close(&f->host);
}

/* A register that a reset clears. */
static void mark(struct fixture *f)
{
	for (size_t i = 0; i < f->count; i++)
		assert_ok(vfb_region_store(f->devices[i], 0, 0x24, 4, 0x70007));
}

static bool is_marked(struct fixture *f, size_t i)
{
	uint64_t value;

	assert_ok(vfb_region_load(f->devices[i], 0, 0x24, 4, &value));
	return value;
}

static void assert_reset(struct fixture *f, enum vfb_reset_method method)
{
	for (size_t i = 0; i < f->count; i++) {
		assert_int_equal(f->resets[i].status, 0);
		assert_int_equal(f->resets[i].method, method);
		assert_false(is_marked(f, i));
	}
}

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

/* All of a bus: one reset for all of them. */
static void test_whole_bus(void **state)
{
	(void)state;
	for (size_t b = 0; b < ARRAY_SIZE(backends); b++) {
		struct fixture f;
		uint64_t start;

		begin(&f, backends[b], 4, &(struct fake_device){0});
		mark(&f);
		start = fake_now(f.host.fake);
		assert_ok(vfb_devices_reset(f.resets, 4, NULL));
		assert_int_equal(fake_now(f.host.fake) - start, RESET);
		assert_reset(&f, VFB_RESET_BUS);
		assert_int_equal(stats_of(&f.host).bus_resets, 1);
		end(&f);
	}
}

/* Some of a bus: each by itself, one after another. */
static void test_part_of_bus(void **state)
{
	(void)state;
	for (size_t b = 0; b < ARRAY_SIZE(backends); b++) {
		struct fixture f;
		uint64_t start;

		begin(&f, backends[b], 4, &(struct fake_device){0});
		mark(&f);
		start = fake_now(f.host.fake);
		assert_ok(vfb_devices_reset(f.resets, 3, NULL));
		assert_int_equal(fake_now(f.host.fake) - start, 3 * RESET);
		assert_int_equal(f.resets[2].method, VFB_RESET_FUNCTION);
		assert_false(is_marked(&f, 2));
		assert_true(is_marked(&f, 3));
		/* Which is refused when the bus was asked for. */
		f.resets[0].method = VFB_RESET_BUS;
		assert_fails(vfb_devices_reset(f.resets, 1, NULL), -EPERM, addresses[0],
			     addresses[1]);
		assert_int_equal(f.resets[0].status, -EPERM);
		assert_int_equal(stats_of(&f.host).bus_resets, 0);
		end(&f);
	}
}

/* The requested method is used, even if another is faster. */
static void test_function(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, VFB_BACKEND_TYPE1, 2, &(struct fake_device){0});
	mark(&f);
	for (size_t i = 0; i < 2; i++)
		f.resets[i].method = VFB_RESET_FUNCTION;
	assert_ok(vfb_devices_reset(f.resets, 2, NULL));
	assert_reset(&f, VFB_RESET_FUNCTION);
	assert_int_equal(stats_of(&f.host).bus_resets, 0);
	end(&f);
}

/* A device that cannot be reset by itself is reset with its bus. */
static void test_no_function_reset(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, VFB_BACKEND_IOMMUFD, 1, &(struct fake_device){.no_reset = true});
	mark(&f);
	assert_ok(vfb_device_reset(f.devices[0]));
	assert_false(is_marked(&f, 0));
	assert_int_equal(stats_of(&f.host).bus_resets, 1);
	f.resets[0].method = VFB_RESET_FUNCTION;
	assert_fails(vfb_devices_reset(f.resets, 1, NULL), -ENOTSUP, addresses[0], "reset_method");
	end(&f);

	begin(&f, VFB_BACKEND_IOMMUFD, 1,
	      &(struct fake_device){.no_reset = true, .no_bus_reset = true});
	assert_fails(vfb_device_reset(f.devices[0]), -ENOTSUP, addresses[0], "root bus");
	end(&f);
}

/* Others on the bus that cannot be had: bound to a host driver, open elsewhere. */
static void test_foreign(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, VFB_BACKEND_TYPE1, 2, &(struct fake_device){0});
	fake_add_device(f.host.fake, &(struct fake_device){.address = "0000:01:00.7",
							   .group = 9,
							   .bridge = BRIDGE,
							   .driver = "nvme"});
	mark(&f);
	assert_ok(vfb_devices_reset(f.resets, 2, NULL));
	assert_reset(&f, VFB_RESET_FUNCTION);
	f.resets[0].method = VFB_RESET_BUS;
	f.resets[1].method = VFB_RESET_BUS;
	assert_fails(vfb_devices_reset(f.resets, 2, NULL), -EPERM, "0000:01:00.7");
	assert_int_equal(f.resets[1].status, -EPERM);
	end(&f);
}

/* Devices behind different bridges are reset in parallel, unless the width is 1. */
static void test_parallel(void **state)
{
	struct vfb_batch_opts one = {.size = sizeof(one), .width = 1};
	struct vfb_reset_request resets[8] = {0};
	struct vfb_device *devices[8];
	struct vfb_job *job;
	struct host host;
	uint64_t start;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 8, devices);
	for (size_t i = 0; i < 8; i++)
		resets[i].device = devices[i];
	start = fake_now(host.fake);
	assert_ok(vfb_devices_reset_start(resets, 8, NULL, &job));
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	vfb_job_destroy(job);
	assert_int_equal(fake_now(host.fake) - start, RESET);
	start = fake_now(host.fake);
	assert_ok(vfb_devices_reset(resets, 8, &one));
	assert_int_equal(fake_now(host.fake) - start, 8 * RESET);
	close_devices(devices, 8);
	host_close(&host);
}

/* Each failure is reported, and the other devices are reset. */
static void test_failures(void **state)
{
	struct fixture f;
	uint64_t start;

	(void)state;
	begin(&f, VFB_BACKEND_TYPE1, 3, &(struct fake_device){.no_bus_reset = true});
	mark(&f);
	fake_fail_call(f.host.fake, "VFIO_DEVICE_RESET", 2, EIO);
	assert_fails(vfb_devices_reset(f.resets, 3, NULL), -EIO, addresses[1]);
	assert_int_equal(f.resets[0].status, 0);
	assert_int_equal(f.resets[1].status, -EIO);
	assert_int_equal(f.resets[2].status, 0);
	assert_true(is_marked(&f, 1));
	assert_false(is_marked(&f, 2));
	/* It has no way of its own any more, and its bus has none. */
	fake_fail_none(f.host.fake);
	fake_fail_call(f.host.fake, "VFIO_DEVICE_RESET", 1, ENOTTY);
	f.resets[0].method = VFB_RESET_AUTO;
	assert_fails(vfb_devices_reset(f.resets, 1, NULL), -ENOTSUP, addresses[0], "the bus");
	assert_int_equal(f.resets[0].method, VFB_RESET_BUS);
	/* A lock that another has for a while; and for ever. */
	fake_fail_none(f.host.fake);
	fake_fail_call(f.host.fake, "VFIO_DEVICE_RESET", 1, EAGAIN);
	assert_ok(vfb_device_reset(f.devices[1]));
	fake_fail_call(f.host.fake, "VFIO_DEVICE_RESET", 0, EAGAIN);
	start = fake_now(f.host.fake);
	assert_fails(vfb_device_reset(f.devices[1]), -EAGAIN, addresses[1]);
	assert_int_equal(fake_now(f.host.fake) - start, 5000 * MS);
	end(&f);
}

static void test_kernel_fails(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, VFB_BACKEND_TYPE1, 2, &(struct fake_device){0});
	/* The bus cannot be reset, the functions can. */
	fake_fail_call(f.host.fake, "VFIO_DEVICE_PCI_HOT_RESET", 1, EIO);
	assert_ok(vfb_devices_reset(f.resets, 2, NULL));
	assert_int_equal(f.resets[0].method, VFB_RESET_FUNCTION);
	fake_fail_call(f.host.fake, "VFIO_DEVICE_PCI_HOT_RESET", 1, EIO);
	f.resets[0].method = f.resets[1].method = VFB_RESET_BUS;
	assert_fails(vfb_devices_reset(f.resets, 2, NULL), -EIO, "the bus of device");
	fake_fail_call(f.host.fake, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 1, EIO);
	assert_fails(vfb_devices_reset(f.resets, 2, NULL), -EIO, "what a reset");
	fake_fail_call(f.host.fake, "eventfd", 1, EMFILE);
	assert_fails(vfb_device_reset(f.devices[0]), -EMFILE, "eventfd");
	end(&f);
}

static void test_refused(void **state)
{
	struct vfb_job *job = (void *)1;
	struct fixture f;

	(void)state;
	begin(&f, VFB_BACKEND_TYPE1, 2, &(struct fake_device){0});
	assert_ok(vfb_devices_reset(NULL, 0, NULL));
	assert_fails(vfb_devices_reset_start(NULL, 0, NULL, &job), -EINVAL, "no devices");
	assert_null(job);
	assert_fails(vfb_device_reset(NULL), -EINVAL, "entry 0");
	f.resets[1].method = 3;
	assert_fails(vfb_devices_reset(f.resets, 2, NULL), -EINVAL, "entry 1", "method 3");
	f.resets[1] = f.resets[0];
	assert_fails(vfb_devices_reset(f.resets, 2, NULL), -EINVAL, addresses[0], "twice");
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_bus), cmocka_unit_test(test_part_of_bus),
		cmocka_unit_test(test_function),  cmocka_unit_test(test_no_function_reset),
		cmocka_unit_test(test_foreign),	  cmocka_unit_test(test_parallel),
		cmocka_unit_test(test_failures),  cmocka_unit_test(test_kernel_fails),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
