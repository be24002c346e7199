/* SPDX-License-Identifier: MIT */
/* The IOMMU of POWER. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "test_fake.h"

#define HIGH (UINT64_C(1) << 59)

static int change_memory(const struct vfb_sys *sys, int container, unsigned long request,
			 void *address, uint64_t bytes)
{
	struct vfio_iommu_spapr_register_memory memory = {
		.argsz = sizeof(memory),
		.vaddr = (uintptr_t)address,
		.size = bytes,
	};

	return sys->ioctl(sys, container, request, &memory);
}

static int add_memory(const struct vfb_sys *sys, int container, void *address, uint64_t bytes)
{
	return change_memory(sys, container, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, address, bytes);
}

static int remove_memory(const struct vfb_sys *sys, int container, void *address, uint64_t bytes)
{
	return change_memory(sys, container, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, address, bytes);
}

static int add_window(const struct vfb_sys *sys, int container, unsigned int shift, uint64_t bytes)
{
	struct vfio_iommu_spapr_tce_create create = {
		.argsz = sizeof(create),
		.page_shift = shift,
		.window_size = bytes,
		.levels = 1,
	};
	int error = sys->ioctl(sys, container, VFIO_IOMMU_SPAPR_TCE_CREATE, &create);

	if (!error)
		assert_int_equal(create.start_addr, HIGH);
	return error;
}

static int remove_window(const struct vfb_sys *sys, int container, uint64_t first)
{
	struct vfio_iommu_spapr_tce_remove remove = {.argsz = sizeof(remove), .start_addr = first};

	return sys->ioctl(sys, container, VFIO_IOMMU_SPAPR_TCE_REMOVE, &remove);
}

static void open_spapr(const struct vfb_sys *sys, const char *path, int *container, int *group)
{
	*container = sys->open(sys, "/dev/vfio/vfio", O_RDWR);
	*group = sys->open(sys, path, O_RDWR);
	assert_int_equal(sys->ioctl(sys, *group, VFIO_GROUP_SET_CONTAINER, container), 0);
	assert_int_equal(sys->ioctl(sys, *container, VFIO_SET_IOMMU,
				    (void *)(uintptr_t)VFIO_SPAPR_TCE_v2_IOMMU),
			 0);
}

/* What is mapped must be registered, within one area for each page, and stays so until unmapped. */
static void test_spapr_memory(void **state)
{
	struct fake *fake = fake_create(&(struct fake_config){.spapr = true});
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	struct fake_stats stats;
	int container, group;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_spapr(sys, "/dev/vfio/1", &container, &group);
	assert_int_equal(map_dma(sys, container, 0, memory, FAKE_MIB), -EPERM);
	assert_int_equal(add_memory(sys, container, memory, 4 * FAKE_MIB), 0);
	assert_int_equal(add_memory(sys, container, memory, 4 * FAKE_MIB), -EBUSY);
	assert_int_equal(add_memory(sys, container, memory + FAKE_MIB, 4 * FAKE_MIB), -EINVAL);
	assert_int_equal(map_dma(sys, container, 0, memory + 3 * FAKE_MIB, 2 * FAKE_MIB), -EINVAL);
	assert_int_equal(add_memory(sys, container, memory + 4 * FAKE_MIB, 4 * FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, 0, memory + 3 * FAKE_MIB, 2 * FAKE_MIB), 0);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 8 * FAKE_MIB);
	assert_int_equal(stats.locked_vm, 8 * FAKE_MIB);
	assert_int_equal(remove_memory(sys, container, memory, 4 * FAKE_MIB), -EBUSY);
	assert_int_equal(unmap_dma(sys, container, 0, 2 * FAKE_MIB), 2 * FAKE_MIB);
	assert_int_equal(remove_memory(sys, container, memory, 4 * FAKE_MIB), 0);
	assert_int_equal(remove_memory(sys, container, memory, 4 * FAKE_MIB), -ENOENT);
	sys->close(sys, group);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 0);
	sys->close(sys, container);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_spapr_windows(void **state)
{
	struct fake_config config = {.spapr = true, .pages_2m = {8}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 4 * FAKE_MIB, 0);
	char *huge = map_anon(sys, 4 * FAKE_MIB, HUGE_2M);
	int container, group;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	open_spapr(sys, "/dev/vfio/1", &container, &group);
	assert_int_equal(add_memory(sys, container, memory, 4 * FAKE_MIB), 0);
	assert_int_equal(add_memory(sys, container, huge, 4 * FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, FAKE_GIB, memory, FAKE_MIB), -ENXIO);
	assert_int_equal(map_dma(sys, container, FAKE_GIB - FAKE_MIB, memory, 2 * FAKE_MIB),
			 -EINVAL);
	assert_int_equal(add_window(sys, container, 13, FAKE_GIB), -EINVAL);
	assert_int_equal(add_window(sys, container, 21, 3 * FAKE_GIB), -EINVAL);
	assert_int_equal(add_window(sys, container, 21, UINT64_C(1) << 41), -EINVAL);
	assert_int_equal(add_window(sys, container, 21, FAKE_GIB), 0);
	assert_int_equal(add_window(sys, container, 21, FAKE_GIB), -ENOSPC);
	/* Its pages are larger than those of the memory. */
	assert_int_equal(map_dma(sys, container, HIGH, memory, 2 * FAKE_MIB), -EINVAL);
	assert_int_equal(map_dma(sys, container, HIGH, huge, 2 * FAKE_MIB), 0);
	assert_int_equal(map_dma(sys, container, 0, memory, FAKE_MIB), 0);
	assert_int_equal(remove_window(sys, container, HIGH), 0);
	assert_int_equal(remove_window(sys, container, HIGH), -EINVAL);
	assert_int_equal(remove_memory(sys, container, huge, 4 * FAKE_MIB), 0);
	sys->close(sys, container);
	sys->close(sys, group);
	assert_int_equal(sys->munmap(sys, memory, 4 * FAKE_MIB), 0);
	assert_int_equal(sys->munmap(sys, huge, 4 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* The same area is pinned once in a process; groups have tables of their own. */
static void test_spapr_containers(void **state)
{
	struct fake *fake = fake_create(&(struct fake_config){.spapr = true});
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 4 * FAKE_MIB, 0);
	int containers[2], groups[2], third;
	struct fake_stats stats;

	(void)state;
	add_device(fake, "0000:00:01.0", 1, NULL);
	add_device(fake, "0000:00:02.0", 2, NULL);
	add_device(fake, "0000:00:03.0", 3, NULL);
	open_spapr(sys, "/dev/vfio/1", &containers[0], &groups[0]);
	open_spapr(sys, "/dev/vfio/2", &containers[1], &groups[1]);
	for (int i = 0; i < 2; i++)
		assert_int_equal(add_memory(sys, containers[i], memory, 4 * FAKE_MIB), 0);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 4 * FAKE_MIB);
	assert_int_equal(remove_memory(sys, containers[0], memory, 4 * FAKE_MIB), 0);
	fake_stats(fake, &stats);
	assert_int_equal(stats.pinned_bytes, 4 * FAKE_MIB);
	assert_int_equal(map_dma(sys, containers[1], 0, memory, 4 * FAKE_MIB), 0);
	third = sys->open(sys, "/dev/vfio/3", O_RDWR);
	assert_int_equal(sys->ioctl(sys, third, VFIO_GROUP_SET_CONTAINER, &containers[1]), -EPERM);
	sys->close(sys, third);
	for (int i = 0; i < 2; i++) {
		sys->close(sys, groups[i]);
		sys->close(sys, containers[i]);
	}
	assert_int_equal(sys->munmap(sys, memory, 4 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

int run_spapr_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spapr_memory),
		cmocka_unit_test(test_spapr_windows),
		cmocka_unit_test(test_spapr_containers),
	};

	return cmocka_run_group_tests_name("fake: sPAPR", tests, NULL, NULL);
}
