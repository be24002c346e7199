/* SPDX-License-Identifier: MIT */
/* Groups, containers, type1. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "test_fake.h"

static void test_type1_map(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	struct fake_stats stats;
	struct fake_iova iova;
	int container, group;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_type1(sys, 1, &container, &group);
	assert_int_equal(map_dma(sys, container, 0, memory, FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, FAKE_MIB, memory + FAKE_MIB, FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, FAKE_MIB, memory, FAKE_MIB), -EEXIST);
	assert_int_equal(map_dma(sys, container, 100, memory, FAKE_MIB), -EINVAL);
	assert_int_equal(map_dma(sys, container, 0, memory, 0), -EINVAL);
	assert_int_equal(map_dma(sys, container, UINT64_C(1) << 48, memory, FAKE_MIB), -EINVAL);
	assert_int_equal(map_dma(sys, container, 0xfed00000, memory, 4 * FAKE_MIB), -EINVAL);
	assert_int_equal(map_dma(sys, container, 8 * FAKE_MIB, memory + 15 * FAKE_MIB,
				 2 * FAKE_MIB),
			 -EFAULT);
	fake_iova(fake, FAKE_ANY_SPACE, 0, 2 * FAKE_MIB, &iova);
	assert_true(iova.mapped && iova.in_order && iova.readable && iova.writable);
	assert_int_equal(iova.entries, 2);
	assert_ptr_equal(iova.address, memory);
	assert_int_equal(iova.pinned, 2 * FAKE_MIB);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 2 * FAKE_MIB);
	assert_int_equal(stats.locked_vm, 2 * FAKE_MIB);
	assert_int_equal(stats.map_calls, 2);
	assert_int_equal(stats.max_maps_in_flight, 1);
	/* Unmapping may take several at once, but not a part. */
	assert_int_equal(unmap_dma(sys, container, 4096, FAKE_MIB), -EINVAL);
	assert_int_equal(unmap_dma(sys, container, 0, FAKE_MIB + 4096), -EINVAL);
	assert_int_equal(unmap_dma(sys, container, 4 * FAKE_MIB, FAKE_MIB), 0);
	assert_int_equal(unmap_dma(sys, container, 0, 3 * FAKE_MIB), 2 * FAKE_MIB);
	assert_int_equal(map_dma(sys, container, 0, memory, 4 * FAKE_MIB), 0);
	sys->close(sys, group);
	/* The last group took the IOMMU with it. */
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(map_dma(sys, container, 0, memory, 4 * FAKE_MIB), -EINVAL);
	sys->close(sys, container);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_type1_limits(void **state)
{
	struct fake_config config = {.dma_entry_limit = 2, .memlock = 8 * FAKE_MIB};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	struct fake_stats stats;
	int container, group;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_type1(sys, 1, &container, &group);
	assert_int_equal(map_dma(sys, container, 0, memory, 9 * FAKE_MIB), -ENOMEM);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
	assert_int_equal(map_dma(sys, container, 0, memory, 8 * FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, 9 * FAKE_MIB, memory, 4096), -ENOMEM);
	assert_int_equal(unmap_dma(sys, container, 0, 8 * FAKE_MIB), 8 * FAKE_MIB);
	assert_int_equal(map_dma(sys, container, 0, memory, 4096), 0);
	assert_int_equal(map_dma(sys, container, 4096, memory, 4096), 0);
	assert_int_equal(map_dma(sys, container, 8192, memory, 4096), -ENOSPC);
	sys->close(sys, container);
	sys->close(sys, group);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* What is not populated is, at its price, before it is pinned. */
static void test_type1_populates(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, FAKE_GIB, 0);
	int container, group, status;
	struct fake_stats stats;
	static char text[64 << 10];
	size_t length = 0;
	ssize_t part;
	uint64_t start;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_type1(sys, 1, &container, &group);
	start = sys->now(sys);
	assert_int_equal(map_dma(sys, container, 0, memory, FAKE_GIB), 0);
	assert_int_equal(sys->now(sys) - start, 250 * MS + 20 * MS + 10000);
	fake_stats(fake, &stats);
	assert_int_equal(stats.populated_by_map_bytes, FAKE_GIB);
	status = sys->open(sys, "/proc/self/status", O_RDONLY);
	while ((part = sys->pread(sys, status, text + length, sizeof(text) - 1 - length, length)) >
	       0)
		length += part;
	assert_int_equal(part, 0);
	text[length] = '\0';
	assert_non_null(strstr(text, "VmLck:\t 1048576 kB\nVmPin:\t       0 kB\n"));
	sys->close(sys, status);
	start = sys->now(sys);
	assert_int_equal(unmap_dma(sys, container, 0, FAKE_GIB), FAKE_GIB);
	assert_int_equal(sys->now(sys) - start, 10 * MS + 10000);
	sys->close(sys, group);
	sys->close(sys, container);
	assert_int_equal(sys->munmap(sys, memory, FAKE_GIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_type1_info(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct vfio_iommu_type1_info *info = calloc(1, 4096);
	struct vfio_info_cap_header *cap;
	unsigned int seen = 0;
	int container, group;

	(void)state;
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:01.0",
						    .group = 1,
						    .driver = "vfio-pci",
						    .reserved_first = 0x1000,
						    .reserved_last = 0x1fff});
	open_type1(sys, 1, &container, &group);
	info->argsz = sizeof(*info);
	assert_int_equal(sys->ioctl(sys, container, VFIO_IOMMU_GET_INFO, info), 0);
	assert_true(info->flags & VFIO_IOMMU_INFO_CAPS);
	assert_int_equal(info->cap_offset, 0);
	assert_true(info->argsz > sizeof(*info) && info->argsz <= 4096);
	assert_int_equal(sys->ioctl(sys, container, VFIO_IOMMU_GET_INFO, info), 0);
	for (uint32_t at = info->cap_offset; at; at = cap->next) {
		cap = (void *)((char *)info + at);
		seen |= 1u << cap->id;
		if (cap->id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
			assert_int_equal(((struct vfio_iommu_type1_info_dma_avail *)cap)->avail,
					 65535);
		if (cap->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
			struct vfio_iommu_type1_info_cap_iova_range *range = (void *)cap;

			assert_int_equal(range->nr_iovas, 3);
			assert_int_equal(range->iova_ranges[0].end, 0xfff);
			assert_int_equal(range->iova_ranges[1].start, 0x2000);
			assert_int_equal(range->iova_ranges[1].end, 0xfedfffff);
			assert_int_equal(range->iova_ranges[2].end, (UINT64_C(1) << 48) - 1);
		}
	}
	assert_int_equal(seen, 0xe);
	sys->close(sys, group);
	sys->close(sys, container);
	free(info);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_groups(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	struct vfio_group_status status = {.argsz = sizeof(status)};
	struct fake_device_stats stats;
	int container, group, second, device;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	add_device(fake, "0000:00:02.0", 2, NULL);
	fake_add_device(fake, &(struct fake_device){.address = "0000:00:02.1",
						    .group = 2,
						    .driver = "nvme"});
	fake_deny(fake, "/dev/vfio/1", EACCES);
	assert_int_equal(sys->open(sys, "/dev/vfio/1", O_RDWR), -EACCES);
	fake_deny(fake, "/dev/vfio/1", 0);
	container = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	assert_int_equal(sys->ioctl(sys, container, VFIO_SET_IOMMU,
				    (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU),
			 -EINVAL);
	second = sys->open(sys, "/dev/vfio/2", O_RDWR);
	assert_int_equal(sys->open(sys, "/dev/vfio/2", O_RDWR), -EBUSY);
	assert_int_equal(sys->ioctl(sys, second, VFIO_GROUP_GET_STATUS, &status), 0);
	assert_int_equal(status.flags, 0);
	assert_int_equal(sys->ioctl(sys, second, VFIO_GROUP_SET_CONTAINER, &container), -EPERM);
	group = sys->open(sys, "/dev/vfio/1", O_RDWR);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_GET_STATUS, &status), 0);
	assert_int_equal(status.flags, VFIO_GROUP_FLAGS_VIABLE);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:01.0"), -EINVAL);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:01.0"), -EINVAL);
	assert_int_equal(sys->ioctl(sys, container, VFIO_SET_IOMMU,
				    (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU),
			 0);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:02.0"), -ENODEV);
	device = sys->ioctl(sys, group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:01.0");
	assert_true(device >= 0);
	assert_int_equal(sys->ioctl(sys, group, VFIO_GROUP_UNSET_CONTAINER, NULL), -EBUSY);
	/* The device holds the group. */
	sys->close(sys, group);
	assert_int_equal(sys->open(sys, "/dev/vfio/1", O_RDWR), -EBUSY);
	fake_device_stats(fake, "0000:00:01.0", &stats);
	assert_int_equal(stats.open_resets, 1);
	assert_int_equal(stats.close_resets, 0);
	sys->close(sys, device);
	fake_device_stats(fake, "0000:00:01.0", &stats);
	assert_int_equal(stats.close_resets, 1);
	group = sys->open(sys, "/dev/vfio/1", O_RDWR);
	assert_true(group >= 0);
	sys->close(sys, group);
	sys->close(sys, second);
	sys->close(sys, container);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

int run_type1_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_type1_map),	cmocka_unit_test(test_type1_limits),
		cmocka_unit_test(test_type1_populates), cmocka_unit_test(test_type1_info),
		cmocka_unit_test(test_groups),
	};

	return cmocka_run_group_tests_name("fake: type1", tests, NULL, NULL);
}
