/* SPDX-License-Identifier: MIT */
/* Drivers given to devices, taken from them, and devices that are in use. */
#include "context.h"
#include "counted.h"
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

/* A kernel without groups; and one that does not say. */
static void test_opened(void **state)
{
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.no_type1 = true});
	add_device(host.fake, NAME, 5, "0000:00:01.0");
	host_space(&host, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_device_open(host.space, NAME, &device));
	assert_fails(vfb_pci_bind(host.ctx, NAME, NULL, 0), -EBUSY, "this process has /dev/vfio0");
	vfb_device_close(device);
	assert_ok(vfb_pci_bind(host.ctx, NAME, NULL, 0));
	host_close(&host);

	begin(&host, "vfio-pci");
	fake_deny(host.fake, "/dev/vfio/5", EMFILE);
	assert_fails(vfb_pci_bind(host.ctx, NAME, NULL, 0), -EMFILE, "/dev/vfio/5", "in use");
	assert_driver(&host, "vfio-pci");
	end(&host);
}

static void test_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", "a\nb", "a\033"};
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
	/* A container: root is no remedy there. */
	fake_deny(host.fake, "/sys/bus/pci/devices/" NAME "/driver_override", EROFS);
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0), -EROFS, "read-only",
		     "on the host");
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

/* The kernel gives EINVAL; sysfs shows why. */
static void test_no_iommu(void **state)
{
	struct fake_device device = {.address = NAME, .no_group = true, .driver = "nvme"};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	fake_add_device(host.fake, &device);
	fake_fail_call(host.fake, "pwrite:/sys/bus/pci/drivers/vfio-pci/bind", 0, EINVAL);
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", VFB_PCI_BIND_FORCE), -EINVAL,
		     "no IOMMU group", "intel_iommu=on");
	host_close(&host);
}

static void assert_in_use(struct host *host, const char *what, const char *remedy)
{
	assert_fails(vfb_pci_bind(host->ctx, NAME, "vfio-pci", 0), -EBUSY, NAME, what, remedy);
	assert_driver(host, "nvme");
	assert_ok(vfb_pci_bind(host->ctx, NAME, "vfio-pci", VFB_PCI_BIND_FORCE));
	assert_driver(host, "vfio-pci");
	end(host);
}

/* A part of the device, with its node. */
static void add_disk(struct host *host, const char *name, const char *parent)
{
	char path[160], link[160], node[64];

	snprintf(path, sizeof(path), "/sys/class/block/%s", name);
	snprintf(link, sizeof(link), LINK "/%s/%s", parent, name);
	snprintf(node, sizeof(node), "/dev/%s", name);
	fake_add_file(host->fake, path, link);
	snprintf(path, sizeof(path), FOLDER "/%s/%s/dev", parent, name);
	fake_add_file(host->fake, path, "259:0\n");
	fake_add_file(host->fake, node, "");
}

static void begin_with_disk(struct host *host)
{
	begin(host, "nvme");
	add_disk(host, "nvme0n1", "nvme/nvme0");
	add_disk(host, "nvme0n1p1", "nvme/nvme0/nvme0n1");
	fake_add_file(host->fake, FOLDER "/nvme/nvme0/nvme0n1/nvme0n1p1/partition", "1\n");
}

static void assert_free(struct host *host)
{
	assert_ok(vfb_pci_bind(host->ctx, NAME, "vfio-pci", 0));
	assert_driver(host, "vfio-pci");
	end(host);
}

static void test_disks(void **state)
{
	struct host host;

	(void)state;
	begin_with_disk(&host);
	assert_free(&host);

	/* The kernel refuses a second exclusive user, whoever the first one is. */
	begin_with_disk(&host);
	fake_deny(host.fake, "/dev/nvme0n1", EBUSY);
	assert_in_use(&host, "disk nvme0n1 ", "mountinfo");

	begin_with_disk(&host);
	fake_deny(host.fake, "/dev/nvme0n1p1", EBUSY);
	assert_in_use(&host, "disk nvme0n1p1 ", "mountinfo");

	begin_with_disk(&host);
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/nvme0n1/holders/dm-0", "");
	assert_in_use(&host, "part of dm-0", "LVM");

	/* A card reader without a card. */
	begin_with_disk(&host);
	fake_deny(host.fake, "/dev/nvme0n1", ENOMEDIUM);
	assert_free(&host);

	/* Who cannot find out does not go on. */
	begin_with_disk(&host);
	fake_deny(host.fake, "/dev/nvme0n1", EACCES);
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0), -EACCES, "/dev/nvme0n1", "root");
	assert_driver(&host, "nvme");
	end(&host);

	/* A disk whose name has a slash. */
	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/block/cciss!c0d0", LINK "/cciss0/block/cciss!c0d0");
	fake_add_file(host.fake, FOLDER "/cciss0/block/cciss!c0d0/dev", "104:0\n");
	fake_add_file(host.fake, "/dev/cciss/c0d0", "");
	fake_deny(host.fake, "/dev/cciss/c0d0", EBUSY);
	assert_in_use(&host, "cciss!c0d0", "/dev/cciss/c0d0");
}

/* A disk with several paths, one of them through the device. */
static void test_paths(void **state)
{
	struct host host;

	(void)state;
	begin(&host, "nvme");
	fake_add_file(host.fake, "/sys/class/block/nvme3n1",
		      "../../devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1");
	fake_add_file(host.fake, "/sys/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1/dev",
		      "8:1\n");
	fake_add_file(host.fake,
		      "/sys/devices/virtual/nvme-subsystem/nvme-subsys3/nvme3n1/device/nvme3",
		      "../../../../../pci0000:00/0000:00:01.0/" NAME "/nvme/nvme3");
	fake_add_file(host.fake, FOLDER "/nvme/nvme3/model", "disk\n");
	/* The path itself has no node. */
	fake_add_file(host.fake, "/sys/class/block/nvme3c0n1", LINK "/nvme/nvme3/nvme3c0n1");
	fake_add_file(host.fake, FOLDER "/nvme/nvme3/nvme3c0n1/size", "8\n");
	fake_add_file(host.fake, "/dev/nvme3n1", "");
	fake_deny(host.fake, "/dev/nvme3n1", EBUSY);
	assert_in_use(&host, "nvme3n1", "umount");
}

static struct {
	const struct vfb_sys *sys;
	struct fake *fake;
	unsigned int fds_at_unbind, fds_at_bind;
} claims;

static int open_of(const struct vfb_sys *sys, const char *path, int flags)
{
	struct fake_stats stats;

	(void)sys;
	fake_stats(claims.fake, &stats);
	if (!strcmp(path, "/sys/bus/pci/drivers/nvme/unbind"))
		claims.fds_at_unbind = stats.fds;
	if (!strcmp(path, "/sys/bus/pci/drivers/vfio-pci/bind"))
		claims.fds_at_bind = stats.fds;
	return claims.sys->open(claims.sys, path, flags);
}

/* Nobody can mount a disk after it was found free, until it is gone. */
static void test_claim(void **state)
{
	struct counted counted;
	struct vfb_ctx *ctx;
	struct host host;

	(void)state;
	begin_with_disk(&host);
	claims.sys = host.sys;
	claims.fake = host.fake;
	counted_init(&counted, host.sys);
	counted.sys.open = open_of;
	assert_ok(vfb_ctx_create_with(&counted.sys, NULL, &ctx));
	assert_ok(vfb_pci_bind(ctx, NAME, "vfio-pci", 0));
	assert_int_equal(claims.fds_at_unbind, 1);
	assert_int_equal(claims.fds_at_bind, 0);
	assert_ok(vfb_ctx_destroy(ctx));
	end(&host);
}

/* A process has a file of the driver open, whatever that is called where the process is. */
static void test_held(void **state)
{
	struct vfb_node node = {.major = 241, .minor = 7};
	struct host host;
	uint64_t start;

	(void)state;
	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/dev", "241:7\n");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/ng0n1/dev", "242:1\n");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/ng0n1/uevent",
		      "MAJOR=242\nMINOR=1\nDEVNAME=ng/0n1\n");
	assert_free(&host);

	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/dev", "241:7\n");
	fake_hold_node(host.fake, 4711, "nvme\033[2J", &node);
	start = fake_now(host.fake);
	assert_fails(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0), -EBUSY,
		     "process 4711 (nvme?[2J) has /dev/nvme0 open");
	/* It may be udev, which looks at a new device. */
	assert_in_range(fake_now(host.fake) - start, 500 * MS, 2000 * MS);
	assert_in_use(&host, "process 4711", "end it first");

	/* A block device of the same number is another one. */
	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/dev", "241:7\n");
	node.is_block = true;
	fake_hold_node(host.fake, 4711, "dd", &node);
	assert_free(&host);

	/* Which does not claim it. */
	begin_with_disk(&host);
	fake_add_file(host.fake, FOLDER "/nvme/nvme0/nvme0n1/subsystem",
		      "../../../../../../class/block");
	node = (struct vfb_node){.is_block = true, .major = 259};
	fake_hold_node(host.fake, 4711, "qemu", &node);
	assert_in_use(&host, "process 4711 (qemu)", "/dev/nvme0n1");

	/* A device of which it has a name only. */
	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/drm/card0/dev", "226:0\n");
	fake_add_file(host.fake, FOLDER "/drm/card0/uevent", "DEVNAME=dri/card0\n");
	node = (struct vfb_node){.major = 226};
	fake_hold_node(host.fake, 12, "Xorg", &node);
	assert_in_use(&host, "process 12 (Xorg)", "/dev/dri/card0");
}

static void begin_with_interface(struct host *host, const char *flags)
{
	begin(host, "nvme");
	fake_add_file(host->fake, "/sys/class/net/eth3", LINK "/net/eth3");
	fake_add_file(host->fake, FOLDER "/net/eth3/flags", flags);
}

static void test_interfaces(void **state)
{
	struct host host;

	(void)state;
	begin_with_interface(&host, "0x1002\n");
	assert_free(&host);

	begin_with_interface(&host, "0x1003\n");
	assert_in_use(&host, "eth3", "ip link set eth3 down");

	/* Down, but a bridge or bond has it. */
	begin_with_interface(&host, "0x1002\n");
	fake_add_file(host.fake, FOLDER "/net/eth3/upper_br0/flags", "0x1003\n");
	assert_in_use(&host, "eth3", "part of br0");
}

/* Those of other network namespaces leave an empty directory. */
static void test_hidden_interfaces(void **state)
{
	struct host host;

	(void)state;
	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/net/", "");
	assert_in_use(&host, "another network namespace", "net");

	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/virtio0/net/", "");
	assert_in_use(&host, "another network namespace", "virtio0/net");
}

static void test_virtual_functions(void **state)
{
	struct host host;

	(void)state;
	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/sriov_numvfs", "0\n");
	assert_free(&host);

	begin(&host, "nvme");
	fake_add_file(host.fake, FOLDER "/sriov_numvfs", "4\n");
	assert_in_use(&host, "4 virtual functions", "echo 0 >");
}

static void use_by_driver(struct host *host)
{
	struct vfb_node node = {.major = 241, .minor = 7};

	begin(host, "nvme");
	fake_add_file(host->fake, FOLDER "/nvme/nvme0/dev", "241:7\n");
	fake_hold_node(host->fake, 4711, "fio", &node);
}

static void use_disk_by_file(struct host *host)
{
	struct vfb_node node = {.is_block = true, .major = 259};

	begin_with_disk(host);
	fake_add_file(host->fake, FOLDER "/nvme/nvme0/nvme0n1/subsystem",
		      "../../../../../../class/block");
	fake_hold_node(host->fake, 4711, "qemu", &node);
}

static void use_disk(struct host *host)
{
	begin_with_disk(host);
	fake_deny(host->fake, "/dev/nvme0n1", EBUSY);
}

static void use_partition(struct host *host)
{
	begin_with_disk(host);
	fake_deny(host->fake, "/dev/nvme0n1p1", EBUSY);
}

static void use_by_lvm(struct host *host)
{
	begin_with_disk(host);
	fake_add_file(host->fake, FOLDER "/nvme/nvme0/nvme0n1/holders/dm-0", "");
}

static void use_interface(struct host *host)
{
	begin_with_interface(host, "0x1003\n");
}

static void use_by_bridge(struct host *host)
{
	begin_with_interface(host, "0x1002\n");
	fake_add_file(host->fake, FOLDER "/net/eth3/upper_br0/flags", "0x1003\n");
}

static void use_elsewhere(struct host *host)
{
	begin(host, "nvme");
	fake_add_file(host->fake, FOLDER "/net/", "");
}

static void use_functions(struct host *host)
{
	begin(host, "nvme");
	fake_add_file(host->fake, FOLDER "/sriov_numvfs", "4\n");
}

/* A device in use keeps its driver, whichever look at it fails. */
static void test_looks_fail(void **state)
{
	static void (*const uses[])(struct host * host) = {
		use_by_driver, use_disk_by_file, use_disk,	use_partition, use_by_lvm,
		use_interface, use_by_bridge,	 use_elsewhere, use_functions,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
		bool failed = true;

		for (unsigned int n = 1; failed; n++) {
			struct host host;

			uses[i](&host);
			fake_fail_nth(host.fake, n, EIO);
			clear_last_error();
			assert_true(vfb_pci_bind(host.ctx, NAME, "vfio-pci", 0) < 0);
			assert_true(*vfb_last_error());
			failed = fake_failed(host.fake);
			fake_fail_none(host.fake);
			assert_driver(&host, "nvme");
			end(&host);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_iommu),
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_opened),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_claim),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_hidden_interfaces),
		cmocka_unit_test(test_virtual_functions),
		cmocka_unit_test(test_looks_fail),
	};

	return cmocka_run_group_tests_name("bind", tests, NULL, NULL);
}
