/* SPDX-License-Identifier: MIT */
/* Files of /proc and /sys that are longer than a page, or have lines that are. */
#include "host.h"

#define STATUS "/proc/self/status"

static void test_fields(void **state)
{
	struct vfb_field fields[] = {
		{.name = "CapEff", .base = 16},
		{.name = "VmPin", .base = 10},
		{.name = "Mems_allowed_list", .base = 10},
	};
	struct vfb_field absent = {.name = "VmSwapped", .base = 10};
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.cap_ipc_lock = true, .uid = 1000});
	/* Behind a line of 16 KiB. */
	assert_int_equal(vfb_sys_read_fields(host.sys, STATUS, fields, 3), 0);
	assert_true(fields[0].found && fields[1].found && fields[2].found);
	assert_int_equal(fields[0].value, 1 << 14);
	assert_int_equal(fields[1].value, 0);
	assert_int_equal(vfb_sys_read_fields(host.sys, STATUS, &absent, 1), -ENODATA);
	assert_int_equal(vfb_sys_read_fields(host.sys, "/proc/none", &absent, 1), -ENOENT);
	host_close(&host);
}

static void test_node_fields(void **state)
{
	struct vfb_field free = {.name = "MemFree", .base = 10};
	struct vfb_field huge = {.name = "HugePages_Surp", .base = 10};
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2, .memory = {GIB, 3 * GIB}});
	assert_int_equal(vfb_sys_read_fields(host.sys, "/sys/devices/system/node/node1/meminfo",
					     &free, 1),
			 0);
	assert_int_equal(free.value, 3 * MIB);
	/* The last line. */
	assert_int_equal(vfb_sys_read_fields(host.sys, "/sys/devices/system/node/node1/meminfo",
					     &huge, 1),
			 0);
	host_close(&host);
}

struct count {
	size_t lines, longest;
};

static bool count_line(const char *line, void *arg)
{
	struct count *count = arg;

	count->lines++;
	if (strlen(line) > count->longest)
		count->longest = strlen(line);
	return true;
}

static bool count_one(const char *line, void *arg)
{
	count_line(line, arg);
	return false;
}

static void test_lines(void **state)
{
	struct count all = {0}, one = {0}, last = {0};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_int_equal(vfb_sys_each_line(host.sys, STATUS, count_line, &all), 0);
	assert_true(all.lines > 60);
	assert_int_equal(all.longest, 8191);
	assert_int_equal(vfb_sys_each_line(host.sys, STATUS, count_one, &one), 0);
	assert_int_equal(one.lines, 1);
	/* Without a newline at its end. */
	fake_add_file(host.fake, "/proc/driver/two", "first\nsecond");
	assert_int_equal(vfb_sys_each_line(host.sys, "/proc/driver/two", count_line, &last), 0);
	assert_int_equal(last.lines, 2);
	assert_int_equal(last.longest, 6);
	fake_fail_call(host.fake, "pread", 2, EIO);
	assert_int_equal(vfb_sys_each_line(host.sys, STATUS, count_line, &all), -EIO);
	host_close(&host);
}

static void test_reset_methods(void **state)
{
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	fake_add_device(host.fake,
			&(struct fake_device){.address = addresses[0],
					      .driver = "vfio-pci",
					      .reset_method = "device_specific acpi flr af_flr pm "
							      "bus cxl_bus one_of_the_future"});
	assert_ok(vfb_pci_info(host.ctx, addresses[0], &info));
	assert_string_equal(info.reset_methods, "device_specific acpi flr af_flr pm bus cxl_bus");
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_node_fields),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_reset_methods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
