/* SPDX-License-Identifier: MIT */
/* The virtual files. */
#include <fcntl.h>

#include "test_fake.h"

static int collect(const char *name, void *arg)
{
	strcat(arg, name);
	strcat(arg, " ");
	return 0;
}

static void assert_file(const struct vfb_sys *sys, const char *path, const char *expected)
{
	char text[256] = "";
	int fd = sys->open(sys, path, O_RDONLY);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(-fd));
	assert_true(sys->pread(sys, fd, text, sizeof(text) - 1, 0) >= 0);
	assert_string_equal(text, expected);
	sys->close(sys, fd);
}

static void test_sysfs(void **state)
{
	struct fake_config config = {.nodes = 2, .pages_2m = {3, 4}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char text[256] = "";

	(void)state;
	fake_add_device(fake, &(struct fake_device){.address = "0000:01:00.0",
						    .bridge = "0000:00:02.0",
						    .group = 12,
						    .node = 1,
						    .driver = "vfio-pci"});
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:05.0",
						    .group = 13,
						    .driver = "nvme"});
	assert_int_equal(sys->realpath(sys, "/sys/bus/pci/devices/0000:01:00.0", text,
				       sizeof(text)),
			 0);
	assert_string_equal(text, "/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0");
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:01:00.0/iommu_group", text,
				       sizeof(text)),
			 0);
	assert_string_equal(text, "../../../../kernel/iommu_groups/12");
	assert_int_equal(sys->realpath(sys, "/sys/bus/pci/devices/0000:00:05.0/iommu_group", text,
				       sizeof(text)),
			 0);
	assert_string_equal(text, "/sys/kernel/iommu_groups/13");
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:00:05.0/driver", text,
				       sizeof(text)),
			 0);
	assert_string_equal(text, "../../../bus/pci/drivers/nvme");
	text[0] = '\0';
	assert_int_equal(sys->list(sys, "/sys/bus/pci/devices/0000:01:00.0/vfio-dev", collect,
				   text),
			 0);
	assert_string_equal(text, "vfio0 ");
	assert_int_equal(sys->list(sys, "/sys/bus/pci/devices/0000:00:05.0/vfio-dev", collect,
				   text),
			 -ENOENT);
	text[0] = '\0';
	assert_int_equal(sys->list(sys, "/sys/bus/pci/devices/0000:01:00.0/iommu_group/devices",
				   collect, text),
			 0);
	assert_string_equal(text, "0000:01:00.0 ");
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:09:00.0/driver", text,
				       sizeof(text)),
			 -ENOENT);
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:01:00.0/driver", text, 5),
			 -ENAMETOOLONG);
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:01:00.0/vendor", text, 5),
			 -EINVAL);
	assert_file(sys, "/sys/bus/pci/devices/0000:01:00.0/numa_node", "1\n");
	assert_file(sys, "/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/vendor", "0x1b36\n");
	assert_file(sys, "/sys/bus/pci/devices/0000:01:00.0/reset_method", "flr bus\n");
	assert_file(sys, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	assert_file(sys, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "7\n");
	assert_file(sys, "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
		    "4\n");
	assert_file(sys, "/sys/devices/system/node/node1/cpulist", "4-7\n");
	assert_file(sys, "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
	assert_int_equal(sys->open(sys, "/dev/vfio/13", O_RDWR), -ENOENT);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

int run_sysfs_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sysfs),
	};

	return cmocka_run_group_tests_name("fake: sysfs", tests, NULL, NULL);
}
