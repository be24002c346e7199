/* SPDX-License-Identifier: MIT */
/* Drivers given to devices, taken from them, and devices that are in use. */
#include "host.h"

#define NAME   "0000:01:00.0"
#define FOLDER "/sys/devices/pci0000:00/0000:00:01.0/" NAME
/* From /sys/class/block and the like. */
#define LINK "../../devices/pci0000:00/0000:00:01.0/" NAME

static void begin(struct host *host, const char *driver)
{
	host_open(host, NULL);
	fake_add_device(host->fake, &(struct fake_device){.address = NAME,
							  .bridge = "0000:00:01.0",
							  .group = 5,
							  .driver = driver});
	fake_add_file(host->fake, "/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
	fake_add_file(host->fake, "/proc/swaps", "Filename Type Size\n/dev/sda2 partition 4\n");
}

static void end(struct host *host)
{
	assert_ok(vfb_ctx_destroy(host->ctx));
	assert_no_leaks(host->fake);
	fake_destroy(host->fake);
}

static void assert_driver(struct host *host, const char *driver)
{
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;

	assert_ok(vfb_pci_info(host->ctx, NAME, &info));
	assert_string_equal(info.driver, driver);
}

static void assert_override(struct host *host, const char *driver)
{
	char text[64];

	assert_true(vfb_sys_read_file(host->sys, "/sys/bus/pci/devices/" NAME "/driver_override",
				      text, sizeof(text)) > 0);
	assert_string_equal(text, driver);
}

static void test_bind(void **state)
{
	struct vfb_device *device;
	struct host host;

	(void)state;
	begin(&host, "nvme");
	assert_ok(vfb_pci_bind(host.ctx, "01:00.0", "vfio-pci", 0));
	assert_driver(&host, "vfio-pci");
	assert_override(&host, "vfio-pci");
	assert_ok(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0));
	host_space(&host, VFB_BACKEND_TYPE1);
	assert_ok(vfb_device_open(host.space, NAME, &device));
	assert_fails(vfb_pci_bind(host.ctx, NAME, "nvme", 0), -EBUSY, NAME, "/dev/vfio/5");
	assert_driver(&host, "vfio-pci");
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(host.space));
	assert_ok(vfb_pci_bind(host.ctx, NAME, "nvme", 0));
	assert_driver(&host, "nvme");
	assert_override(&host, "(null)");
	assert_ok(vfb_pci_bind(host.ctx, NAME, NULL, 0));
	assert_driver(&host, "");
	assert_ok(vfb_pci_bind(host.ctx, NAME, NULL, 0));
	end(&host);
}

static void test_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b"};
	struct host host;

	(void)state;
	begin(&host, "nvme");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_fails(vfb_pci_bind(host.ctx, NAME, names[i], 0), -EINVAL, "name of a");
	assert_fails(vfb_pci_bind(host.ctx, NAME, "absent", 0), -ENOTSUP, "modprobe absent");
	assert_fails(vfb_pci_bind(host.ctx, "7", "vfio-pci", 0), -EINVAL, "\"7\"");
	assert_fails(vfb_pci_bind(host.ctx, "09:00.0", "vfio-pci", 0), -ENODEV, "0000:09:00.0");
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 8), -EINVAL, "0x8");
	fake_deny(host.fake, "/sys/bus/pci/devices/" NAME "/driver_override", EACCES);
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0), -EACCES, "root");
	assert_driver(&host, "nvme");
	end(&host);
}

/* Whatever fails, the device has one driver or the other. */
static void test_failures(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned int n = 1; failed; n++) {
		struct host host;
		int error;

		begin(&host, "nvme");
		fake_fail_nth(host.fake, n, EIO);
		clear_last_error();
		error = vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0);
		failed = fake_failed(host.fake);
		fake_fail_none(host.fake);
		assert_true(!error || *vfb_last_error());
		assert_driver(&host, error ? "nvme" : "vfio-pci");
		end(&host);
	}
}

static void assert_in_use(struct host *host, const char *what, const char *remedy)
{
	assert_fails(vfb_pci_bind(host->ctx, NAME, "vfio-pci", 0), -EBUSY, NAME, what, remedy);
	assert_driver(host, "nvme");
	assert_ok(vfb_pci_bind(host->ctx, NAME, "vfio-pci", VFB_PCI_BIND_FORCE));
	assert_driver(host, "vfio-pci");
	end(host);
}

static void add_disk(struct host *host, const char *number)
{
	fake_add_file(host->fake, "/sys/class/block/nvme0n1", LINK "/nvme/nvme0/nvme0n1");
	fake_add_file(host->fake, FOLDER "/nvme/nvme0/nvme0n1/dev", number);
}

static void test_disks(void **state)
{
	struct host host;

	(void)state;
	/* Another disk is mounted, another is swapped to. */
	begin(&host, "nvme");
	add_disk(&host, "259:0\n");
	assert_ok(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0));
	end(&host);

	begin(&host, "nvme");
	add_disk(&host, "8:1\n");
	assert_in_use(&host, "nvme0n1", "umount /dev/nvme0n1");

	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/block/sda2", LINK "/host0/block/sda/sda2");
	fake_add_file(host.fake, FOLDER "/host0/block/sda/sda2/dev", "8:2\n");
	assert_in_use(&host, "sda2", "swapoff /dev/sda2");

	begin(&host, "nvme");
	add_disk(&host, "259:0\n");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/nvme0n1/holders/dm-0", "");
	assert_in_use(&host, "part of another", "holders");

	/* It has several paths, one of them through the device. */
	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/block/nvme3n1",
		      "../../devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1");
	fake_add_file(host.fake, "/sys/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1/dev",
		      "8:1\n");
	fake_add_file(host.fake,
		      "/sys/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1/device/nvme3",
		      "../../../../../pci0000:00/0000:00:01.0/" NAME "/nvme/nvme3");
	fake_add_file(host.fake, FOLDER "/nvme/nvme3/model", "disk\n");
	assert_in_use(&host, "nvme3n1", "umount");
}

static void test_interfaces(void **state)
{
	struct host host;

	(void)state;
	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/net/eth3", LINK "/net/eth3");
	fake_add_file(host.fake, FOLDER "/net/eth3/flags", "0x1003\n");
	assert_in_use(&host, "eth3", "ip link set eth3 down");

	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/net/eth3", LINK "/net/eth3");
	fake_add_file(host.fake, FOLDER "/net/eth3/flags", "0x1002\n");
	assert_ok(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0));
	end(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bind),	   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failures),   cmocka_unit_test(test_disks),
		cmocka_unit_test(test_interfaces),
	};

	return cmocka_run_group_tests_name("bind", tests, NULL, NULL);
}
