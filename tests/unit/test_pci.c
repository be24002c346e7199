/* SPDX-License-Identifier: MIT */
/* PCI addresses, and what sysfs tells of a device. */
#include "device/pci.h"

#include "host.h"

static void test_parse(void **state)
{
	static const char *const good[][2] = {
		{"0000:01:00.0", "0000:01:00.0"},   {"01:00.0", "0000:01:00.0"},
		{"0000:AB:1F.7", "0000:ab:1f.7"},   {"ff:1f.7", "0000:ff:1f.7"},
		{"10000:e1:00.0", "10000:e1:00.0"}, {"ABCDEF:01:00.0", "abcdef:01:00.0"},
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
	};
	char address[VFB_PCI_ADDRESS];

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
	char address[VFB_PCI_ADDRESS], text[4096];

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_discover),
		cmocka_unit_test(test_less),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
