/* SPDX-License-Identifier: MIT */
/* Opening, closing, resets and regions. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "test_fake.h"

struct opener {
	const struct vfb_sys *sys;
	int iommufd, fd;
	unsigned int index;
};

static void *open_thread(void *arg)
{
	struct opener *o = arg;
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", o->index);
	o->fd = o->sys->open(o->sys, path, O_RDWR);
	if (o->fd >= 0 && bind_device(o->sys, o->fd, o->iommufd)) {
		o->sys->close(o->sys, o->fd);
		o->fd = -1;
	}
	return NULL;
}

static void *close_thread(void *arg)
{
	struct opener *o = arg;

	o->sys->close(o->sys, o->fd);
	return NULL;
}

static uint64_t in_threads(struct opener *openers, unsigned int count, void *(*run)(void *))
{
	const struct vfb_sys *sys = openers[0].sys;
	uint64_t start = sys->now(sys);
	pthread_t threads[16];

	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(sys->thread_create(sys, "opener", NULL, run, &openers[i],
						    &threads[i]),
				 0);
	for (unsigned int i = 0; i < count; i++)
		sys->thread_join(sys, threads[i]);
	return sys->now(sys) - start;
}

/* Opens and closes 8 devices in 8 threads. */
static void open_eight(struct fake_config *config, bool own_bridges, const char *dev_set,
		       uint64_t open_ns, uint64_t close_ns, unsigned int skipped)
{
	struct fake *fake = fake_create(config);
	const struct vfb_sys *sys = fake_sys(fake);
	struct opener openers[8];
	struct fake_stats stats;
	int iommufd = sys->open(sys, "/dev/iommu", O_RDWR);

	for (unsigned int i = 0; i < 8; i++) {
		char address[16], bridge[16], set[16];

		snprintf(address, sizeof(address), "0000:%02x:%02x.0", own_bridges ? i + 1 : 1,
			 own_bridges ? 0 : i);
		snprintf(bridge, sizeof(bridge), "0000:00:%02x.0", own_bridges ? i + 1 : 1);
		snprintf(set, sizeof(set), "%s%u", dev_set ? dev_set : "", i);
		fake_add_device(fake, &(struct fake_device){.address = address,
							    .bridge = bridge,
							    .group = i,
							    .dev_set = dev_set ? set : NULL,
							    .driver = "vfio-pci"});
	}
	for (unsigned int i = 0; i < 8; i++)
		openers[i] = (struct opener){.sys = sys, .iommufd = iommufd, .index = i};
	assert_int_equal(in_threads(openers, 8, open_thread), open_ns);
	for (int i = 0; i < 8; i++)
		assert_true(openers[i].fd >= 0);
	assert_int_equal(in_threads(openers, 8, close_thread), close_ns);
	fake_stats(fake, &stats);
	assert_int_equal(stats.skipped_resets, skipped);
	assert_int_equal(stats.resets, 16 - skipped);
	sys->close(sys, iommufd);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_parallel_opens(void **state)
{
	struct fake_config old = {.old_close = true};

	(void)state;
	/* Each below its own bridge: together. All below one, in one dev_set: in turn. */
	open_eight(NULL, true, NULL, 100 * MS, 100 * MS, 0);
	open_eight(NULL, false, NULL, 800 * MS, 800 * MS, 0);
	/* As VFs: dev_sets of their own below one bridge. 7.0 skips what it cannot lock. */
	open_eight(NULL, false, "vf", 100 * MS, 100 * MS, 7);
	open_eight(&old, false, "vf", 100 * MS, 100 * MS, 0);
}

static int open_and_bind(const struct vfb_sys *sys, unsigned int index, int iommufd)
{
	char path[64];
	int fd, error;

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", index);
	fd = sys->open(sys, path, O_RDWR);
	if (fd < 0)
		return fd;
	error = bind_device(sys, fd, iommufd);
	sys->close(sys, fd);
	return error;
}

/* Devices that others have, and groups that the host has a part of. */
static void test_busy(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	int iommufd = sys->open(sys, "/dev/iommu", O_RDWR);
	struct fake_device_stats stats;
	int group;

	(void)state;
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:01.0",
						    .group = 1,
						    .driver = "vfio-pci",
						    .busy = FAKE_BUSY_GROUP});
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:02.0",
						    .group = 2,
						    .driver = "vfio-pci",
						    .busy = FAKE_BUSY_CDEV});
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:02.1",
						    .group = 2,
						    .driver = "vfio-pci"});
	add_device(fake, "0000:00:03.0", 3, NULL);
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:03.1",
						    .group = 3,
						    .driver = "nvme"});
	add_device(fake, "0000:00:04.0", 4, NULL);
	assert_int_equal(sys->open(sys, "/dev/vfio/1", O_RDWR), -EBUSY);
	assert_int_equal(sys->open(sys, "/dev/vfio/2", O_RDWR), -EBUSY);
	assert_int_equal(open_and_bind(sys, 0, iommufd), -EBUSY);
	assert_int_equal(open_and_bind(sys, 1, iommufd), -EINVAL);
	assert_int_equal(open_and_bind(sys, 2, iommufd), -EPERM);
	assert_int_equal(open_and_bind(sys, 3, iommufd), -EPERM);
	group = sys->open(sys, "/dev/vfio/4", O_RDWR);
	assert_int_equal(open_and_bind(sys, 4, iommufd), -EBUSY);
	sys->close(sys, group);
	assert_int_equal(open_and_bind(sys, 4, iommufd), 0);
	fake_device_stats(fake, "0000:00:04.0", &stats);
	assert_int_equal(stats.resets, 2);
	assert_int_equal(open_and_bind(sys, 5, iommufd), -ENOENT);
	sys->close(sys, iommufd);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_absent(void **state)
{
	struct fake *fake = fake_create(&(struct fake_config){.no_type1 = true, .no_cdev = true});
	const struct vfb_sys *sys = fake_sys(fake);
	char text[256];
	int iommufd;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:02.0", .no_group = true});
	assert_int_equal(sys->open(sys, "/dev/vfio/vfio", O_RDWR), -ENOENT);
	assert_int_equal(sys->open(sys, "/dev/vfio/1", O_RDWR), -ENOENT);
	assert_int_equal(sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR), -ENOENT);
	assert_int_equal(sys->readlink(sys, "/sys/bus/pci/devices/0000:00:02.0/iommu_group", text,
				       sizeof(text)),
			 -ENOENT);
	iommufd = sys->open(sys, "/dev/iommu", O_RDWR);
	assert_true(iommufd >= 0);
	sys->close(sys, iommufd);
	fake_destroy(fake);
	fake = fake_create(&(struct fake_config){.no_iommufd = true, .no_populate = true});
	sys = fake_sys(fake);
	assert_int_equal(sys->open(sys, "/dev/iommu", O_RDWR), -ENOENT);
	assert_int_equal(sys->madvise(sys, NULL, 4096, MADV_POPULATE_WRITE), -EINVAL);
	fake_destroy(fake);
}

static void test_regions(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct vfio_region_info info = {.argsz = sizeof(info)};
	struct fake_device_stats stats;
	int container, group, device;
	uint32_t value = 0;
	uint32_t *bar;
	void *out;

	(void)state;
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:01.0",
						    .group = 1,
						    .driver = "vfio-pci",
						    .bars = {{.bytes = 8192},
							     {.bytes = 4096, .no_mmap = true}}});
	open_type1(sys, 1, &container, &group);
	device = sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:01.0");
	info.index = VFIO_PCI_CONFIG_REGION_INDEX;
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	assert_int_equal(sys->pread(sys, device, &value, 4, info.offset), 4);
	assert_int_equal(value, 0x00101b36);
	assert_int_equal(sys->pread(sys, device, &value, 4, info.offset + 4094), -EFAULT);
	info.index = VFIO_PCI_VGA_REGION_INDEX;
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_REGION_INFO, &info), -EINVAL);
	info.index = 1;
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	assert_false(info.flags & VFIO_REGION_INFO_FLAG_MMAP);
	assert_int_equal(sys->mmap(sys, NULL, 4096, PROT_READ, MAP_SHARED, device, info.offset,
				   &out),
			 -EINVAL);
	info.index = 0;
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	assert_int_equal(info.size, 8192);
	assert_int_equal(sys->mmap(sys, NULL, 12288, PROT_READ, MAP_SHARED, device, info.offset,
				   &out),
			 -EINVAL);
	assert_int_equal(sys->mmap(sys, NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, device,
				   info.offset, &out),
			 0);
	bar = out;
	bar[1025] = 7;
	assert_int_equal(sys->pread(sys, device, &value, 4, info.offset + 4100), 4);
	assert_int_equal(value, 7);
	value = 8;
	assert_int_equal(sys->pwrite(sys, device, &value, 4, info.offset + 8), 4);
	assert_int_equal(bar[2], 8);
	assert_int_equal(sys->pread(sys, device, &value, 4, info.offset + 8192), -EINVAL);
	/* The device can be reached by type1 through its BAR, at no cost. */
	assert_int_equal(map_dma(sys, container, 0, bar, 8192), 0);
	assert_int_equal(unmap_dma(sys, container, 0, 8192), 8192);
	/* A mapping keeps the device open. */
	sys->close(sys, device);
	fake_device_stats(fake, "0000:00:01.0", &stats);
	assert_int_equal(stats.close_resets, 0);
	assert_int_equal(sys->munmap(sys, bar, 8192), 0);
	fake_device_stats(fake, "0000:00:01.0", &stats);
	assert_int_equal(stats.close_resets, 1);
	sys->close(sys, group);
	sys->close(sys, container);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

int run_device_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parallel_opens),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_regions),
	};

	return cmocka_run_group_tests_name("fake: device", tests, NULL, NULL);
}
