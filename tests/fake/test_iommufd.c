/* SPDX-License-Identifier: MIT */
/* IOASes, binding and attaching; and maps in parallel on both interfaces. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "test_fake.h"

static void test_iommufd(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfb_iommu_iova_range ranges[4];
	struct vfb_iommu_ioas_iova_ranges get = {.size = sizeof(get),
						 .num_iovas = 1,
						 .allowed_iovas = (uintptr_t)ranges};
	struct fake_stats stats;
	int iommufd, device, twin;
	uint32_t ioas;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	iommufd = sys->open(sys, "/dev/iommu", O_RDWR);
	device = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);
	twin = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);
	assert_true(iommufd >= 0 && device >= 0 && twin >= 0);
	ioas = get.ioas_id = ioas_alloc(sys, iommufd);
	/* Without a domain nothing is pinned, and everything is valid. */
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0, memory, FAKE_MIB), 0);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 4096, memory, FAKE_MIB), -EEXIST);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &get), 0);
	assert_int_equal(get.num_iovas, 1);
	assert_true(ranges[0].start == 0 && ranges[0].last == UINT64_MAX);
	/* Unbound, a device answers nothing; bound, it answers only one file. */
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
	assert_int_equal(bind_device(sys, device, device), -EBADFD);
	assert_int_equal(bind_device(sys, device, 999), -EBADF);
	assert_int_equal(bind_device(sys, device, iommufd), 0);
	assert_int_equal(bind_device(sys, twin, iommufd), -EINVAL);
	assert_int_equal(sys->open(sys, "/dev/vfio/1", O_RDWR), -EBUSY);
	assert_int_equal(sys->ioctl(sys, device, VFIO_DEVICE_GET_INFO, &info), 0);
	assert_int_equal(info.num_regions, VFIO_PCI_NUM_REGIONS);
	assert_int_equal(attach_device(sys, device, 77), -ENOENT);
	assert_int_equal(attach_device(sys, device, ioas), 0);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, FAKE_MIB);
	assert_int_equal(stats.locked_vm, 0);
	assert_int_equal(sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &get), -EMSGSIZE);
	assert_int_equal(get.num_iovas, 2);
	assert_int_equal(sys->ioctl(sys, iommufd, VFB_IOMMU_IOAS_IOVA_RANGES, &get), 0);
	assert_int_equal(ranges[0].last, 0xfedfffff);
	assert_int_equal(destroy(sys, iommufd, ioas), -EBUSY);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0xfee00000, memory, FAKE_MIB), -EINVAL);
	/* Whole areas only. */
	assert_int_equal(ioas_map(sys, iommufd, ioas, FAKE_MIB, memory, FAKE_MIB), 0);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0, FAKE_MIB + 4096), -ENOENT);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0, FAKE_MIB), -ENOENT);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0, UINT64_MAX), FAKE_MIB);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0, UINT64_MAX), 0);
	assert_int_equal(ioas_map(sys, iommufd, ioas, FAKE_MIB, memory, FAKE_MIB), 0);
	/* The domain goes with the device, the mapping stays. */
	sys->close(sys, device);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(stats.mappings, 1);
	assert_int_equal(destroy(sys, iommufd, ioas), 0);
	assert_int_equal(destroy(sys, iommufd, ioas), -ENOENT);
	sys->close(sys, twin);
	sys->close(sys, iommufd);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_iommufd_conflicts(void **state)
{
	struct fake_config config = {.memlock = 2 * FAKE_MIB};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	struct fake_device_stats device_stats;
	int iommufd, device;
	uint32_t ioas;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	iommufd = sys->open(sys, "/dev/iommu", O_RDWR);
	device = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);
	ioas = ioas_alloc(sys, iommufd);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0xfee00000, memory, 4096), 0);
	assert_int_equal(bind_device(sys, device, iommufd), 0);
	assert_int_equal(attach_device(sys, device, ioas), -EADDRINUSE);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0xfee00000, 4096), 4096);
	assert_int_equal(ioas_map(sys, iommufd, ioas, UINT64_C(1) << 50, memory, 4096), 0);
	assert_int_equal(attach_device(sys, device, ioas), -EADDRINUSE);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, UINT64_C(1) << 50, 4096), 4096);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0, memory, 3 * FAKE_MIB), 0);
	assert_int_equal(attach_device(sys, device, ioas), -ENOMEM);
	fake_device_stats(fake, "0000:00:01.0", &device_stats);
	assert_int_equal(device_stats.attached, 0);
	assert_int_equal(ioas_unmap(sys, iommufd, ioas, 0, 3 * FAKE_MIB), 3 * FAKE_MIB);
	assert_int_equal(attach_device(sys, device, ioas), 0);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0, memory, 3 * FAKE_MIB), -ENOMEM);
	assert_int_equal(ioas_map(sys, iommufd, ioas, 0, memory, 2 * FAKE_MIB), 0);
	/* The device keeps the iommufd alive. */
	sys->close(sys, iommufd);
	sys->close(sys, device);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

struct mapper {
	const struct vfb_sys *sys;
	int fd;
	uint32_t ioas;
	uint64_t iova, bytes;
	void *memory;
	int result;
};

static void *map_thread(void *arg)
{
	struct mapper *m = arg;

	if (m->ioas)
		m->result = ioas_map(m->sys, m->fd, m->ioas, m->iova, m->memory, m->bytes);
	else
		m->result = map_dma(m->sys, m->fd, m->iova, m->memory, m->bytes);
	return NULL;
}

/* Four maps of 1 GiB that is populated, at once. */
static uint64_t map_in_parallel(struct fake *fake, int fd, uint32_t ioas)
{
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 4 * FAKE_GIB, HUGE_2M);
	struct mapper mappers[4];
	pthread_t threads[4];
	struct fake_stats stats;
	uint64_t start;

	assert_int_equal(sys->madvise(sys, memory, 4 * FAKE_GIB, MADV_POPULATE_WRITE), 0);
	start = sys->now(sys);
	for (uint64_t i = 0; i < 4; i++) {
		mappers[i] = (struct mapper){.sys = sys,
					     .fd = fd,
					     .ioas = ioas,
					     .iova = (4 + i) * FAKE_GIB,
					     .bytes = FAKE_GIB,
					     .memory = memory + i * FAKE_GIB};
		sys->thread_create(sys, "mapper", NULL, map_thread, &mappers[i], &threads[i]);
	}
	for (int i = 0; i < 4; i++) {
		sys->thread_join(sys, threads[i]);
		assert_int_equal(mappers[i].result, 0);
	}
	start = sys->now(sys) - start;
	fake_stats(fake, &stats);
	assert_int_equal(stats.max_maps_in_flight, 4);
	assert_int_equal(stats.mapped_bytes, 4 * FAKE_GIB);
	assert_int_equal(stats.pinned_bytes, 4 * FAKE_GIB);
	assert_int_equal(stats.populated_by_map_bytes, 0);
	return start;
}

static void test_type1_serialises(void **state)
{
	struct fake_config config = {.pages_2m = {2048}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char text[2048];
	int container, group;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_type1(sys, 1, &container, &group);
	assert_int_equal(map_in_parallel(fake, container, 0), 4 * (20 * MS + 10000));
	/* 2 fds, 1 address mapping, 4 IOVA mappings, pinned memory. */
	assert_int_equal(fake_leaks(fake, text, sizeof(text)), 8);
	assert_non_null(strstr(text, "/dev/vfio/vfio"));
	fake_destroy(fake);
}

/* What is being mapped can neither be unmapped nor its IOAS destroyed. */
static void test_iommufd_in_flight(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct mapper mapper = {.sys = sys, .bytes = FAKE_GIB};
	struct vfb_iommu_ioas_map any = {.size = sizeof(any),
					 .flags = VFB_IOMMU_IOAS_MAP_READABLE,
					 .length = 4 * FAKE_MIB};
	struct fake_stats stats;
	pthread_t thread;
	int devices[2];

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	add_device(fake, "0000:00:02.0", 2, NULL);
	mapper.memory = map_anon(sys, FAKE_GIB, 0);
	mapper.fd = sys->open(sys, "/dev/iommu", O_RDWR);
	mapper.ioas = ioas_alloc(sys, mapper.fd);
	devices[0] = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);
	devices[1] = sys->open(sys, "/dev/vfio/devices/vfio1", O_RDWR);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bind_device(sys, devices[i], mapper.fd), 0);
	assert_int_equal(attach_device(sys, devices[0], mapper.ioas), 0);
	assert_int_equal(sys->thread_create(sys, "mapper", NULL, map_thread, &mapper, &thread), 0);
	sys->sleep(sys, MS);
	assert_int_equal(ioas_unmap(sys, mapper.fd, mapper.ioas, 0, FAKE_GIB), -EBUSY);
	assert_int_equal(destroy(sys, mapper.fd, mapper.ioas), -EBUSY);
	/* The domain is there already. */
	assert_int_equal(attach_device(sys, devices[1], mapper.ioas), 0);
	sys->thread_join(sys, thread);
	assert_int_equal(mapper.result, 0);
	sys->close(sys, devices[0]);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, FAKE_GIB);
	/* An IOVA of the kernel's choice, read only. */
	any.ioas_id = mapper.ioas;
	any.user_va = (uintptr_t)mapper.memory;
	assert_int_equal(sys->ioctl(sys, mapper.fd, VFB_IOMMU_IOAS_MAP, &any), 0);
	assert_true(any.iova >= FAKE_GIB && any.iova % 4096 == 0);
	assert_int_equal(ioas_unmap(sys, mapper.fd, mapper.ioas, 0, UINT64_MAX),
			 FAKE_GIB + 4 * FAKE_MIB);
	sys->close(sys, devices[1]);
	sys->close(sys, mapper.fd);
	assert_int_equal(sys->munmap(sys, mapper.memory, FAKE_GIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_iommufd_parallel(void **state)
{
	struct fake_config config = {.pages_2m = {2048}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	uint32_t ioas;
	int iommufd, device;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	iommufd = sys->open(sys, "/dev/iommu", O_RDWR);
	device = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);
	ioas = ioas_alloc(sys, iommufd);
	assert_int_equal(bind_device(sys, device, iommufd), 0);
	assert_int_equal(attach_device(sys, device, ioas), 0);
	assert_int_equal(map_in_parallel(fake, iommufd, ioas), 20 * MS + 10000);
	fake_destroy(fake);
}

int run_iommufd_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iommufd),		 cmocka_unit_test(test_iommufd_conflicts),
		cmocka_unit_test(test_type1_serialises), cmocka_unit_test(test_iommufd_in_flight),
		cmocka_unit_test(test_iommufd_parallel),
	};

	return cmocka_run_group_tests_name("fake: iommufd", tests, NULL, NULL);
}
