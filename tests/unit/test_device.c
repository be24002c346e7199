/* SPDX-License-Identifier: MIT */
/* A device that is open: what it is, its regions. */
#include <linux/pci_regs.h>

#include "host.h"
#include "sys/sys.h"

#define NAME "0000:01:00.0"

/* BAR 0 of 16 KiB, 2 of 64 KiB without mmap, 4 too small for it, a ROM; on node 1. */
static struct vfb_device *open_device(struct host *host, enum vfb_backend backend)
{
	struct vfb_device *device;

	host_open(host, &(struct fake_config){.nodes = 2});
	fake_add_device(host->fake, &(struct fake_device){
					    .address = NAME,
					    .group = 5,
					    .node = 1,
					    .bridge = "0000:00:01.0",
					    .driver = "vfio-pci",
					    .vendor_id = 0x1234,
					    .device_id = 0xabcd,
					    .bars = {{.bytes = 16 * KIB},
						     {0},
						     {.bytes = 64 * KIB, .no_mmap = true},
						     {0},
						     {.bytes = 256}},
					    .rom_bytes = 2 * KIB,
				    });
	host_space(host, backend);
	assert_ok(vfb_device_open(host->space, "01:00.0", &device));
	return device;
}

static void close_device(struct host *host, struct vfb_device *device)
{
	vfb_device_close(device);
	host_close(host);
}

static void test_info(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
		struct host host;
		struct vfb_device *device = open_device(&host, backends[b]);

		assert_ok(vfb_device_info(device, &info));
		assert_string_equal(info.address, NAME);
		assert_true(info.fd >= 0);
		assert_int_equal(info.node, 1);
		assert_int_equal(info.regions, 9);
		assert_int_equal(info.irqs, 5);
		assert_int_equal(info.flags, VFB_DEVICE_WAS_RESET);
		assert_int_equal(info.group_fd >= 0, backends[b] == VFB_BACKEND_TYPE1);
		close_device(&host, device);
	}
	vfb_device_close(NULL);
	assert_ok(vfb_devices_close(NULL, 0, NULL));
	assert_ok(vfb_devices_close((struct vfb_device *[]){NULL, NULL}, 2, NULL));
}

/* A VMM resets by itself what the kernel could not reset. */
static void test_not_reset(void **state)
{
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	fake_add_device(host.fake, &(struct fake_device){.address = NAME,
							 .bridge = "0000:00:01.0",
							 .driver = "vfio-pci",
							 .no_reset = true});
	host_space(&host, VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_device_open(host.space, "/sys/bus/pci/devices/" NAME "/", &device));
	assert_ok(vfb_device_info(device, &info));
	assert_int_equal(info.flags, 0);
	assert_ok(vfb_device_reset(device));
	assert_ok(vfb_device_info(device, &info));
	assert_int_equal(info.flags, VFB_DEVICE_WAS_RESET);
	close_device(&host, device);
}

static void test_regions(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t flags;
	} expected[] = {
		{16 * KIB, VFB_REGION_READ | VFB_REGION_WRITE | VFB_REGION_MMAP},
		{0, 0},
		{64 * KIB, VFB_REGION_READ | VFB_REGION_WRITE},
		{0, 0},
		{256, VFB_REGION_READ | VFB_REGION_WRITE},
		{0, 0},
		{2 * KIB, VFB_REGION_READ},
		{4 * KIB, VFB_REGION_READ | VFB_REGION_WRITE},
	};
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	struct host host;
	struct vfb_device *device = open_device(&host, VFB_BACKEND_TYPE1);

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_ok(vfb_region_info(device, i, &info));
		if (i != VFB_REGION_CONFIG)
			assert_int_equal(info.bytes, expected[i].bytes);
		assert_int_equal(info.flags, expected[i].flags);
	}
	/* It has no VGA; and nothing beyond. */
	assert_fails(vfb_region_info(device, 8, &info), -EINVAL, NAME, "region 8");
	assert_fails(vfb_region_info(device, 9, &info), -EINVAL, NAME, "region 9",
		     "it has 9 regions");
	close_device(&host, device);
}

static void test_access(void **state)
{
	uint16_t ids[2];
	uint32_t value = 0x12345678, read = 0;
	char byte;
	struct host host;
	struct vfb_device *device = open_device(&host, VFB_BACKEND_IOMMUFD);

	(void)state;
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, ids, sizeof(ids)));
	assert_int_equal(ids[0], 0x1234);
	assert_int_equal(ids[1], 0xabcd);
	assert_ok(vfb_region_write(device, 2, 64 * KIB - 4, &value, sizeof(value)));
	assert_ok(vfb_region_read(device, 2, 64 * KIB - 4, &read, sizeof(read)));
	assert_int_equal(read, value);
	assert_ok(vfb_region_read(device, 6, 2 * KIB - 1, &byte, 1));
	assert_ok(vfb_region_read(device, 0, 16 * KIB, &byte, 0));

	assert_fails(vfb_region_read(device, 0, 16 * KIB, &byte, 1), -ERANGE, NAME, "16 KiB",
		     "0x4000");
	assert_fails(vfb_region_read(device, 0, 16 * KIB - 2, &read, 4), -ERANGE, "4 bytes");
	assert_fails(vfb_region_read(device, 0, UINT64_MAX, &read, 4), -ERANGE, "beyond");
	assert_fails(vfb_region_write(device, 2, 64 * KIB, &read, 1), -ERANGE, "64 KiB");
	assert_fails(vfb_region_read(device, 1, 0, &read, 4), -ERANGE, "0 bytes");
	assert_fails(vfb_region_write(device, 6, 0, &byte, 1), -ENOTSUP, NAME, "region 6",
		     "written");
	assert_fails(vfb_region_read(device, 77, 0, &byte, 1), -EINVAL, "region 77");
	assert_fails(vfb_region_write(device, 77, 0, &byte, 1), -EINVAL, "region 77");
	close_device(&host, device);
}

/* The kernel's own failures. */
static void test_access_fails(void **state)
{
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	struct host host;
	struct vfb_device *device = open_device(&host, VFB_BACKEND_TYPE1);
	uint16_t off = 0;
	uint32_t value;

	(void)state;
	fake_fail_call(host.fake, "pread", 1, EIO);
	assert_fails(vfb_region_read(device, 0, 16, &value, 4), -EIO, NAME, "0x10");
	fake_fail_call(host.fake, "VFIO_DEVICE_GET_REGION_INFO", 1, ENODEV);
	assert_fails(vfb_region_info(device, 0, &info), -ENODEV, NAME);
	fake_fail_call(host.fake, "mmap", 1, ENOMEM);
	assert_fails(vfb_region_map(device, 0, NULL, &(void *){NULL}), -ENOMEM, NAME);
	/* Memory decoding is switched off. */
	assert_ok(vfb_region_write(device, VFB_REGION_CONFIG, PCI_COMMAND, &off, 2));
	assert_fails(vfb_region_read(device, 0, 0, &value, 4), -EIO, NAME, "region 0");
	close_device(&host, device);
}

static void test_map(void **state)
{
	struct host host;
	struct vfb_device *device = open_device(&host, VFB_BACKEND_IOMMUFD);
	void *address = (void *)1, *again;
	uint32_t value = 0;

	(void)state;
	assert_fails(vfb_region_unmap(device, 0), -ENOENT, NAME, "region 0");
	assert_fails(vfb_region_unmap(device, 77), -ENOENT, "region 77");
	assert_fails(vfb_region_map(device, 2, NULL, &address), -ENOTSUP, NAME, "region 2",
		     "mapped");
	assert_null(address);
	address = (void *)1;
	assert_fails(vfb_region_map(device, 9, NULL, &address), -EINVAL, "region 9");
	assert_null(address);
	assert_fails(vfb_region_map(device, 1, NULL, &address), -ENOTSUP, "region 1");

	assert_ok(vfb_region_map(device, 0, NULL, &address));
	*(volatile uint32_t *)((char *)address + 8) = 0xcafe;
	assert_ok(vfb_region_read(device, 0, 8, &value, 4));
	assert_int_equal(value, 0xcafe);
	again = (void *)1;
	assert_fails(vfb_region_map(device, 0, NULL, &again), -EEXIST, NAME, "already");
	assert_null(again);
	assert_ok(vfb_region_unmap(device, 0));
	assert_fails(vfb_region_unmap(device, 0), -ENOENT, NAME);
	/* What is mapped goes when the device is closed, else it would stay open. */
	assert_ok(vfb_region_map(device, 0, NULL, &address));
	close_device(&host, device);
}

/* Closing and opening resets it: what was written is gone. */
static void test_reset(void **state)
{
	struct host host;
	struct vfb_device *device = open_device(&host, VFB_BACKEND_TYPE1);
	uint32_t value = 7;

	(void)state;
	assert_ok(vfb_region_write(device, 0, 0, &value, 4));
	vfb_device_close(device);
	assert_ok(vfb_device_open(host.space, NAME, &device));
	assert_ok(vfb_region_read(device, 0, 0, &value, 4));
	assert_int_equal(value, 0);
	close_device(&host, device);
}

/* Once is enough: again, twice in one batch, while another job does it. */
static void test_close_twice(void **state)
{
	struct vfb_device *devices[3], *copies[3];
	struct vfb_job *job, *again = (void *)1;
	struct fake_device_stats stats;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 2, devices);
	devices[2] = devices[0];
	assert_fails(vfb_devices_close(devices, 3, NULL), -EINVAL, addresses[0], "twice");
	memcpy(copies, devices, sizeof(devices));
	assert_ok(vfb_devices_close_start(devices, 2, NULL, &job));
	assert_null(devices[0]);
	assert_null(devices[1]);
	assert_fails(vfb_devices_close_start(copies, 2, NULL, &again), -EALREADY, addresses[0]);
	assert_null(again);
	assert_fails(vfb_device_close(copies[1]), -EALREADY, addresses[1], "wait for that job");
	/* No longer than so long. */
	assert_fails(vfb_job_wait(job, 10 * MS), -ETIMEDOUT, "not ended");
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	vfb_job_destroy(job);
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_fails(vfb_devices_close_start(devices, 2, NULL, &job), -EINVAL, "no devices");
	fake_device_stats(host.fake, addresses[0], &stats);
	assert_int_equal(stats.close_resets, 1);
	/* A device that is refused stays open, and can be closed. */
	open_devices(&host, 2, devices);
	devices[2] = devices[1];
	assert_fails(vfb_devices_close(devices, 3, NULL), -EINVAL, "twice");
	assert_ok(vfb_devices_close(devices, 2, NULL));
	host_close(&host);
}

/* Two devices of one group: the second one releases it. */
static void test_one_group(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
		struct vfb_device *devices[2];
		struct host host;
		uint16_t id;

		host_open(&host, NULL);
		add_device(host.fake, addresses[0], 7, "0000:00:01.0");
		add_device(host.fake, addresses[1], 7, "0000:00:02.0");
		host_space(&host, backends[b]);
		open_devices(&host, 2, devices);
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		for (size_t i = 0; i < 2; i++) {
			vfb_device_close(devices[i]);
			assert_ok(vfb_region_read(devices[!i], VFB_REGION_CONFIG, 0, &id, 2));
			assert_mapped(&host, &range);
			assert_ok(vfb_device_open(host.space, addresses[i], &devices[i]));
		}
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		close_devices(devices, 2);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

struct files {
	const struct vfb_sys *sys;
	int refuse, added, removed, fd;
};

static int add_file(void *data, const char *device, int fd)
{
	struct files *files = data;

	assert_string_equal(device, addresses[0]);
	files->added++;
	files->fd = fd;
	return files->refuse;
}

static void remove_file(void *data, const char *device, int fd)
{
	struct files *files = data;
	struct vfb_sys_file file;

	assert_string_equal(device, addresses[0]);
	assert_int_equal(fd, files->fd);
	/* It is still open. */
	assert_int_equal(files->sys->file_info(files->sys, fd, &file), 0);
	files->removed++;
}

/* The program hears of a device before it is bound, and before it is closed. */
static void test_files(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};
	static const char *const calls[] = {"VFIO_GROUP_GET_DEVICE_FD", "VFIO_DEVICE_BIND_IOMMUFD"};

	(void)state;
	/* The third time, the node of the device cannot be used. */
	for (size_t b = 0; b < 3; b++) {
		struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
		struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
		struct vfb_device *device;
		struct files files = {0};
		struct host host;

		host_open(&host, &(struct fake_config){.no_cdev = b == 2});
		files.sys = fake_sys(host.fake);
		add_devices(host.fake, 1);
		opts.backend = backends[b > 0];
		opts.add_file = add_file;
		opts.remove_file = remove_file;
		opts.file_data = &files;
		assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
		files.refuse = -EPERM;
		assert_fails(vfb_device_open(host.space, addresses[0], &device), -EPERM,
			     addresses[0], "add_file");
		assert_int_equal(files.added, 1);
		assert_int_equal(files.removed, 0);
		/* Not as if the kernel had failed with it: that would be tried again. */
		files.refuse = -EAGAIN;
		files.added = 0;
		assert_fails(vfb_device_open(host.space, addresses[0], &device), -EAGAIN,
			     addresses[0], "add_file");
		assert_int_equal(files.added, 1);
		files.refuse = 0;
		fake_fail_call(host.fake, calls[b == 1], 1, EIO);
		assert_fails(vfb_device_open(host.space, addresses[0], &device), -EIO,
			     calls[b == 1]);
		assert_int_equal(files.added, 2);
		assert_int_equal(files.removed, 1);
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_int_equal(files.added, 3);
		assert_ok(vfb_device_info(device, &info));
		assert_int_equal(files.fd, info.group_fd >= 0 ? info.group_fd : info.fd);
		assert_ok(vfb_device_close(device));
		assert_int_equal(files.removed, 2);
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),	     cmocka_unit_test(test_not_reset),
		cmocka_unit_test(test_regions),	     cmocka_unit_test(test_access),
		cmocka_unit_test(test_access_fails), cmocka_unit_test(test_map),
		cmocka_unit_test(test_reset),	     cmocka_unit_test(test_one_group),
		cmocka_unit_test(test_close_twice),  cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
