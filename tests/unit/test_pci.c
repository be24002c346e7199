/* SPDX-License-Identifier: MIT */
/* PCI addresses, and what sysfs reports about a device. */
#include "device/pci.h"

#include "host.h"

static void test_parse(void **state)
{
	static const char *const good[][2] = {
		{"0000:01:00.0", "0000:01:00.0"},
		{"01:00.0", "0000:01:00.0"},
		{"0000:AB:1F.7", "0000:ab:1f.7"},
		{"ff:1f.7", "0000:ff:1f.7"},
		{"10000:e1:00.0", "10000:e1:00.0"},
		{"ABCDEF:01:00.0", "abcdef:01:00.0"},
		{"/sys/bus/pci/devices/0000:01:00.0", "0000:01:00.0"},
		{"/sys/bus/pci/devices/0000:01:00.0//", "0000:01:00.0"},
		{"/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/", "0000:01:00.0"},
	};
	static const char *const bad[] = {
		"",
		"1",
		"1:0.0",
		"01:00",
		"01:00.",
		"01:00.8",
		"01:00.00",
		"01:0g.0",
		"001:00.0",
		":01:00.0",
		"000:01:00.0",
		"0000:01:00",
		"0000:01:00.0\n",
		" 0000:01:00.0",
		"0000:01:00.0x",
		"0000.01:00.0",
		"0000:01.00.0",
		"1234567:01:00.0",
		"/sys/",
		"/sys//",
		"/sys/bus/pci/devices/",
		"/sys/bus/pci/devices/0000:01:00.8",
		"/sys/bus/pci/devices/0000:01:00.0/driver",
		"/sys/bus/pci/devices/0000:01:00.0-and-more-of-it",
		"/dev/0000:01:00.0",
	};
	char address[VFB_PCI_ADDRESS_BYTES];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_ok(vfb_pci_parse(good[i][0], address));
		assert_string_equal(address, good[i][1]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_fails(vfb_pci_parse(bad[i], address), -EINVAL, bad[i], "01:00.0");
	assert_fails(vfb_pci_parse(NULL, address), -EINVAL, "\"\"");
}

/* However long it is, the text fits. */
static void test_long(void **state)
{
	char address[VFB_PCI_ADDRESS_BYTES], text[4096];

	(void)state;
	memset(text, 'f', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_fails(vfb_pci_parse(text, address), -EINVAL, "looks like");
	assert_true(strlen(vfb_last_error()) < 200);
}

static void test_discover(void **state)
{
	struct host host;
	struct vfb_pci pci;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2});
	fake_add_device(host.fake, &(struct fake_device){.address = "0000:03:00.1",
							 .group = 42,
							 .node = 1,
							 .bridge = "0000:00:1c.0",
							 .driver = "vfio-pci"});
	fake_add_device(host.fake, &(struct fake_device){.address = "0000:00:05.0",
							 .group = 7,
							 .node = -1,
							 .driver = "mlx5-vfio-pci"});
	assert_ok(vfb_pci_discover(host.sys, "0000:03:00.1", &pci));
	assert_string_equal(pci.address, "0000:03:00.1");
	assert_string_equal(pci.bridge, "0000:00:1c.0");
	assert_string_equal(pci.node, "vfio0");
	assert_int_equal(pci.group, 42);
	assert_int_equal(pci.numa_node, 1);
	/* On the root bus; a driver that is one of VFIO's. */
	assert_ok(vfb_pci_discover(host.sys, "0000:00:05.0", &pci));
	assert_string_equal(pci.bridge, "");
	assert_string_equal(pci.node, "vfio1");
	assert_int_equal(pci.group, 7);
	assert_int_equal(pci.numa_node, -1);
	host_close(&host);
}

/* A NUMA node that cannot be read matters little. */
static void test_less(void **state)
{
	struct host host;
	struct vfb_pci pci;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	fake_fail_call(host.fake, "open:/sys/bus/pci/devices/0000:01:00.0/numa_node", 1, EACCES);
	assert_ok(vfb_pci_discover(host.sys, addresses[0], &pci));
	assert_string_equal(pci.node, "vfio0");
	assert_int_equal(pci.numa_node, -1);
	assert_fails(vfb_pci_discover(host.sys, "0000:55:00.0", &pci), -ENODEV, "0000:55:00.0");
	host_close(&host);
}

static struct vfb_pci_info pci_info_of(struct host *host, const char *address)
{
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;

	assert_ok(vfb_pci_info(host->ctx, address, &info));
	return info;
}

static void add_family(struct fake *fake)
{
	static const struct fake_device devices[] = {
		{.address = "0000:00:05.0", .no_group = true, .node = -1, .no_reset = true},
		{
			.address = "0000:03:00.0",
			.group = 42,
			.node = 1,
			.bridge = "0000:00:1c.0",
			.driver = "vfio-pci",
			.bars = {{.bytes = 64 * MIB}, {0}, {.bytes = 4 * KIB}, {.bytes = 512}},
		},
		{.address = "0000:03:00.1",
		 .group = 42,
		 .bridge = "0000:00:1c.0",
		 .driver = "nvme"},
		{
			.address = "0000:04:00.3",
			.group = 50,
			.bridge = "0000:00:1d.0",
			.physfn = "0000:04:00.0",
			.driver = "vfio-pci",
		},
		{.address = "0000:04:00.0", .group = 49, .bridge = "0000:00:1d.0", .driver = "igb"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		fake_add_device(fake, &devices[i]);
}

static void test_info(void **state)
{
	struct vfb_pci_info info;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2});
	add_family(host.fake);
	info = pci_info_of(&host, "03:00.0");
	assert_string_equal(info.address, "0000:03:00.0");
	assert_string_equal(info.bridge, "0000:00:1c.0");
	assert_string_equal(info.parent, "");
	assert_string_equal(info.driver, "vfio-pci");
	assert_string_equal(info.cdev, "/dev/vfio/devices/vfio0");
	assert_string_equal(info.reset_methods, "flr bus");
	assert_int_equal(info.group, 42);
	assert_int_equal(info.node, 1);
	assert_int_equal(info.vendor_id, 0x1b36);
	assert_int_equal(info.device_id, 0x0010);
	assert_int_equal(info.class_code, 0x010802);
	assert_int_equal(info.bars[0].bytes, 64 * MIB);
	assert_int_equal(info.bars[0].flags, VFB_PCI_BAR_64BIT);
	assert_int_equal(info.bars[1].bytes, 0);
	assert_int_equal(info.bars[2].flags, 0);
	assert_int_equal(info.bars[3].bytes, 512);

	/* Without driver, group, bridge, node or a way to reset it. */
	info = pci_info_of(&host, "0000:00:05.0");
	assert_string_equal(info.bridge, "");
	assert_string_equal(info.driver, "");
	assert_string_equal(info.cdev, "");
	assert_string_equal(info.reset_methods, "");
	assert_int_equal(info.group, -1);
	assert_int_equal(info.node, -1);

	info = pci_info_of(&host, "0000:04:00.3");
	assert_string_equal(info.parent, "0000:04:00.0");
	assert_fails(vfb_pci_info(host.ctx, "0000:55:00.0", &info), -ENODEV, "0000:55:00.0");
	assert_fails(vfb_pci_info(host.ctx, "5", &info), -EINVAL, "\"5\"");
	host_close(&host);
}

static void test_list(void **state)
{
	static const char *const all[] = {
		"0000:00:05.0", "0000:00:1c.0", "0000:00:1d.0", "0000:03:00.0",
		"0000:03:00.1", "0000:04:00.0", "0000:04:00.3",
	};
	char found[8][VFB_PCI_ADDRESS_BYTES];
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_family(host.fake);
	assert_int_equal(vfb_pci_list(host.ctx, found, 8), ARRAY_SIZE(all));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_string_equal(found[i], all[i]);
	/* With less room than there are. */
	memset(found, 0, sizeof(found));
	assert_int_equal(vfb_pci_list(host.ctx, found, 1), ARRAY_SIZE(all));
	assert_string_equal(found[0], all[0]);
	assert_string_equal(found[1], "");
	assert_int_equal(vfb_pci_list(host.ctx, NULL, 0), ARRAY_SIZE(all));
	host_close(&host);
}

static void test_reset_set(void **state)
{
	char found[4][VFB_PCI_ADDRESS_BYTES];
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_family(host.fake);
	/* Those of a bus, whatever has them. */
	assert_int_equal(vfb_pci_reset_set(host.ctx, "03:00.1", found, 4), 2);
	assert_string_equal(found[0], "0000:03:00.0");
	assert_string_equal(found[1], "0000:03:00.1");
	/* By themselves: on the root bus; a virtual function. */
	assert_int_equal(vfb_pci_reset_set(host.ctx, "00:05.0", found, 4), 1);
	assert_string_equal(found[0], "0000:00:05.0");
	assert_int_equal(vfb_pci_reset_set(host.ctx, "04:00.3", found, 4), 1);
	assert_string_equal(found[0], "0000:04:00.3");
	assert_fails(vfb_pci_reset_set(host.ctx, "55:00.0", found, 4), -ENODEV, "0000:55:00.0");
	host_close(&host);
}

/* Whatever cannot be read in sysfs: an error with its reason, and no leak. */
static void test_unreadable(void **state)
{
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	char found[8][VFB_PCI_ADDRESS_BYTES];
	unsigned int failures = 0;

	(void)state;
	for (unsigned int n = 1;; n++) {
		struct host host;
		int results[3];
		bool failed;

		host_open(&host, NULL);
		add_family(host.fake);
		fake_fail_nth(host.fake, n, EIO);
		clear_last_error();
		results[0] = vfb_pci_info(host.ctx, "04:00.3", &info);
		results[1] = vfb_pci_list(host.ctx, found, 8);
		results[2] = vfb_pci_reset_set(host.ctx, "03:00.1", found, 8);
		failed = fake_failed(host.fake);
		for (int i = 0; i < 3; i++) {
			assert_true(results[i] >= 0 || results[i] == -EIO);
			failures += results[i] < 0;
			assert_true(results[i] >= 0 || *vfb_last_error());
		}
		host_close(&host);
		if (!failed)
			break;
	}
	assert_true(failures > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	  cmocka_unit_test(test_long),
		cmocka_unit_test(test_discover),  cmocka_unit_test(test_less),
		cmocka_unit_test(test_info),	  cmocka_unit_test(test_list),
		cmocka_unit_test(test_reset_set), cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
