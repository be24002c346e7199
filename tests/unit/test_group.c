/* SPDX-License-Identifier: MIT */
/* Devices that iommufd opens by their groups: when, and what may go wrong. */
#include <fcntl.h>
#include <linux/vfio.h>

#include "host.h"
#include "sys/uapi.h"

static const char *opened_by[2];

static void note_open(const struct vfb_event *event, void *data)
{
	assert_int_equal(fake_locks_held(), 0);
	(void)data;
	if (event->phase == VFB_PHASE_OPEN)
		opened_by[!strcmp(event->device, addresses[1])] = event->operation;
}

/* One device can be opened by its node, the other cannot: both reach the same memory. */
static void test_both_ways(void **state)
{
	struct vfb_subscription *subscription;
	struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
	struct vfb_device *devices[2];
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_IOMMUFD, 2);
	fake_deny(host.fake, "/dev/vfio/devices/vfio1", EACCES);
	assert_ok(vfb_subscribe(host.ctx, NULL, note_open, NULL, &subscription));
	open_devices(&host, 2, devices);
	vfb_unsubscribe(subscription);
	assert_string_equal(opened_by[0], "VFIO_DEVICE_BIND_IOMMUFD");
	assert_string_equal(opened_by[1], "VFIO_GROUP_GET_DEVICE_FD");
	range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_mapped(&host, &range);
	assert_true(stats_of(&host).max_maps_in_flight > 1);
	vfb_device_close(devices[0]);
	assert_mapped(&host, &range);
	host_end(&host, devices[1], range.memory);
}

static void test_no_way(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_ready(&host, &(struct fake_config){.uid = 1000}, VFB_BACKEND_IOMMUFD, 1);
	fake_deny(host.fake, "/dev/vfio/devices/vfio0", EACCES);
	fake_deny(host.fake, "/dev/vfio/1", EACCES);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EACCES, "permission",
		     "/dev/vfio/devices/vfio0", "/dev/vfio/1", "chown");
	/* What is no matter of permission, or of an old kernel, is no reason to try the group. */
	fake_deny(host.fake, "/dev/vfio/1", 0);
	fake_deny(host.fake, "/dev/vfio/devices/vfio0", EMFILE);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EMFILE,
		     "/dev/vfio/devices/vfio0");
	fake_deny(host.fake, "/dev/vfio/devices/vfio0", EACCES);
	assert_ok(vfb_space_destroy(host.space));
	opts.backend = VFB_BACKEND_IOMMUFD;
	opts.flags = VFB_SPACE_KEEP_DOMAIN;
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EACCES, "permission",
		     "/dev/vfio/devices/vfio0", "VFB_SPACE_KEEP_DOMAIN");
	host_close(&host);
}

/* Whatever fails, the next try succeeds. */
static void test_failures(void **state)
{
	static const struct {
		const char *call;
		int error, result;
		const char *text;
	} cases[] = {
		{"VFIO_GROUP_GET_STATUS", EIO, -EIO, "cannot read the state of IOMMU group 1"},
		{"IOMMU_VFIO_IOAS", EIO, -EIO, "IOMMU_VFIO_IOAS"},
		{"VFIO_GROUP_SET_CONTAINER", ENOMEM, -ENOMEM, "VFIO_GROUP_SET_CONTAINER"},
		{"VFIO_GROUP_GET_DEVICE_FD", EPERM, -EPERM, "allow_unsafe_interrupts"},
		{"VFIO_GROUP_GET_DEVICE_FD", EADDRINUSE, -EADDRINUSE, "reserved_regions"},
		{"VFIO_GROUP_GET_DEVICE_FD", ENOMEM, -ENOMEM, "cannot open device"},
	};
	const struct fake_config config = {.no_cdev = true};
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_ready(&host, &config, VFB_BACKEND_IOMMUFD, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_fail_call(host.fake, cases[i].call, 1, cases[i].error);
		assert_fails(vfb_device_open(host.space, addresses[0], &device), cases[i].result,
			     cases[i].text);
		assert_null(device);
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		vfb_device_close(device);
	}
	host_close(&host);
}

/* The group's other device has a driver of the host's. */
static void test_not_viable(void **state)
{
	const struct fake_config config = {.no_cdev = true};
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_ready(&host, &config, VFB_BACKEND_IOMMUFD, 1);
	fake_add_device(host.fake, &(struct fake_device){
					   .address = "0000:01:00.1",
					   .group = 1,
					   .driver = "snd_hda_intel",
				   });
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EPERM, "group 1",
		     "not viable");
	host_close(&host);
}

/* An iommufd of the caller's without a group is left as it was when it cannot be adopted. */
static void test_adopt(void **state)
{
	struct vfb_iommu_vfio_ioas get = {.size = sizeof(get), .op = VFB_IOMMU_VFIO_IOAS_GET};
	static const struct {
		const char *call;
		unsigned int nth;
	} cases[] = {
		/* It is asked what it is, then for its address space, which is set. */
		{"IOMMU_VFIO_IOAS", 2},
		{"IOMMU_IOAS_ALLOC", 1},
		{"IOMMU_VFIO_IOAS", 3},
	};
	struct host host;
	int fd;

	(void)state;
	host_open(&host, NULL);
	fd = host.sys->open(host.sys, "/dev/iommu", O_RDWR);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_fail_call(host.fake, cases[i].call, cases[i].nth, ENOMEM);
		assert_fails(vfb_space_adopt(host.ctx, fd, 0, NULL, &host.space), -ENOMEM,
			     "cannot");
		assert_null(host.space);
		assert_int_equal(host.sys->ioctl(host.sys, fd, VFB_IOMMU_VFIO_IOAS, &get), -ENODEV);
	}
	assert_ok(vfb_space_adopt(host.ctx, fd, 0, NULL, &host.space));
	assert_ok(vfb_space_destroy(host.space));
	host.space = NULL;
	assert_int_equal(host.sys->ioctl(host.sys, fd, VFB_IOMMU_VFIO_IOAS, &get), 0);
	host.sys->close(host.sys, fd);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways), cmocka_unit_test(test_no_way),
		cmocka_unit_test(test_failures),  cmocka_unit_test(test_not_viable),
		cmocka_unit_test(test_adopt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
