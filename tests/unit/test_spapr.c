/* SPDX-License-Identifier: MIT */
/* The IOMMU of POWER: DMA windows, and memory that is registered before it is mapped. */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "host.h"

#define BYTES (64 * MIB)
#define HIGH  (UINT64_C(1) << 59)

static const struct fake_config spapr = {.spapr = true};

/* Starts with one device; the memory is of the default pages. */
static void start(struct host *host, const struct fake_config *config, struct vfb_device **device)
{
	host_start(host, config ? config : &spapr, VFB_BACKEND_SPAPR, 1, device);
}

static struct vfb_range range_of(struct vfb_memory *memory, uint64_t iova)
{
	return (struct vfb_range){.memory = memory, .bytes = BYTES, .iova = iova};
}

static void count_registers(const struct vfb_event *event, void *data)
{
	unsigned int *count = data;

	assert_string_equal(event->operation, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY");
	assert_int_equal(event->result, 0);
	__atomic_fetch_add(count, event->bytes / MIB, __ATOMIC_RELAXED);
}

/* What is mapped is registered, each part once, and not afterwards; a window is made, and removed.
 */
static void test_map(void **state)
{
	struct vfb_filter filter = {.size = sizeof(filter),
				    .phases = VFB_PHASE_BIT(VFB_PHASE_REGISTER)};
	struct vfb_iova_range windows[2];
	struct vfb_subscription *events;
	struct vfb_device *device;
	unsigned int registered = 0;
	struct vfb_range ranges[2];
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start(&host, NULL, &device);
	assert_ok(vfb_subscribe(host.ctx, &filter, count_registers, &registered, &events));
	memory = make_memory(&host, 2 * BYTES, VFB_PAGE_4K);
	assert_int_equal(vfb_space_iova_ranges(host.space, windows, 2), 2);
	assert_true(windows[0].first == 0 && windows[0].last == GIB - 1);
	/* As large as the memory of the machine. */
	assert_true(windows[1].first == HIGH && windows[1].last == HIGH + 64 * GIB - 1);
	ranges[0] = range_of(memory, 0);
	ranges[1] = range_of(memory, HIGH);
	ranges[1].offset = BYTES;
	assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
	assert_mapped(&host, &ranges[0]);
	assert_mapped(&host, &ranges[1]);
	assert_int_equal(stats_of(&host).pinned_bytes, 2 * BYTES);
	assert_int_equal(stats_of(&host).locked_vm, 2 * BYTES);
	vfb_unsubscribe(events);
	assert_int_equal(registered, 2 * BYTES / MIB);
	assert_ok(vfb_space_unmap(host.space, ranges, 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, BYTES);
	assert_ok(vfb_device_close(device));
	assert_int_equal(stats_of(&host).pinned_bytes, 0);
	assert_int_equal(stats_of(&host).register_calls, stats_of(&host).unregister_calls);
	assert_int_equal(stats_of(&host).window_creates, 1);
	/* And the one that the platform provides. */
	assert_int_equal(stats_of(&host).window_removes, 2);
	host_end(&host, NULL, memory);
}

/* Mapped with the next device, although the kernel had nothing left. */
static void test_again(void **state)
{
	struct vfb_device *device;
	struct vfb_range range;
	struct host host;

	(void)state;
	host_ready(&host, &spapr, VFB_BACKEND_SPAPR, 1);
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 0);
	range.flags = VFB_RANGE_ANY_IOVA;
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	for (int i = 0; i < 2; i++) {
		open_devices(&host, 1, &device);
		assert_mapped(&host, &range);
		assert_ok(vfb_device_close(device));
		assert_not_mapped(&host, range.iova);
	}
	host_end(&host, NULL, range.memory);
}

/* Memory that several mappings share, in whole or in part, is registered once. */
static void test_shared_memory(void **state)
{
	struct vfb_device *device;
	struct vfb_range ranges[3];
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start(&host, NULL, &device);
	memory = make_memory(&host, 2 * BYTES, VFB_PAGE_4K);
	ranges[0] = range_of(memory, 0);
	ranges[1] = range_of(memory, 2 * BYTES);
	ranges[2] = range_of(memory, 4 * BYTES);
	ranges[2].offset = BYTES / 2;
	for (int i = 0; i < 3; i++)
		assert_ok(vfb_space_map(host.space, &ranges[i], 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, 3 * BYTES / 2);
	assert_ok(vfb_space_unmap(host.space, &ranges[0], 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, 3 * BYTES / 2);
	assert_ok(vfb_space_unmap(host.space, &ranges[1], 1, NULL));
	assert_mapped(&host, &ranges[2]);
	assert_ok(vfb_space_unmap(host.space, &ranges[2], 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, 0);
	host_end(&host, device, memory);
}

/* The window is as large as the platform allows, or as RLIMIT_MEMLOCK; or there is none. */
static void test_small_windows(void **state)
{
	struct fake_config small = {.spapr = true, .spapr_window = 2 * GIB};
	struct vfb_iova_range windows[2];
	struct vfb_device *device;
	struct vfb_range range;
	struct host host;

	(void)state;
	start(&host, &small, &device);
	assert_int_equal(vfb_space_iova_ranges(host.space, windows, 2), 2);
	assert_true(windows[1].last == HIGH + 2 * GIB - 1);
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 4 * GIB);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "0x100000000",
		     "0x0-0x3fffffff");
	assert_int_equal(stats_of(&host).register_calls, 0);
	host_end(&host, device, range.memory);

	host_ready(&host, &spapr, VFB_BACKEND_SPAPR, 1);
	fake_fail_call(host.fake, "VFIO_IOMMU_SPAPR_TCE_CREATE", 0, ENODEV);
	open_devices(&host, 1, &device);
	assert_int_equal(vfb_space_iova_ranges(host.space, windows, 2), 1);
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	fake_fail_none(host.fake);
	host_end(&host, device, range.memory);
}

/* Before a device is open, the windows are known as far as all platforms have them. */
static void test_expected(void **state)
{
	struct vfb_iova_range windows[2];
	struct host host;

	(void)state;
	host_ready(&host, &spapr, VFB_BACKEND_SPAPR, 1);
	assert_ok(vfb_space_expect_devices(host.space, addresses, 1));
	assert_int_equal(vfb_space_iova_ranges(host.space, windows, 2), 2);
	assert_true(windows[0].first == 0 && windows[0].last == GIB - 1);
	assert_true(windows[1].first == HIGH && windows[1].last == 2 * HIGH - 1);
	host_close(&host);
}

/* As large as requested. */
static void test_window_bytes(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .window_bytes = 3 * GIB};
	struct vfb_iova_range windows[2];
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, &spapr);
	add_devices(host.fake, 1);
	assert_fails(vfb_space_create(host.ctx, &opts, &host.space), -EINVAL, "0xc0000000",
		     "power of two");
	opts.window_bytes = 4 * GIB;
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	open_devices(&host, 1, &device);
	assert_int_equal(vfb_space_iova_ranges(host.space, windows, 2), 2);
	assert_true(windows[1].last == HIGH + 4 * GIB - 1);
	host_end(&host, device, NULL);
}

/* Pages of the window as large as those of the memory; what is smaller fits in the other one. */
static void test_large_pages(void **state)
{
	struct fake_config config = {.spapr = true, .pages_2m = {64}};
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_SPAPR,
				      .page_size = VFB_PAGE_2M};
	struct vfb_range huge, small;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, &config);
	add_devices(host.fake, 1);
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	open_devices(&host, 1, &device);
	huge = range_of(make_memory(&host, BYTES, VFB_PAGE_2M), HIGH);
	small = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), HIGH + GIB);
	assert_ok(vfb_space_map(host.space, &huge, 1, NULL));
	assert_fails(vfb_space_map(host.space, &small, 1, NULL), -EINVAL, "2 MiB", "page_size");
	assert_int_equal(stats_of(&host).pinned_bytes, BYTES);
	small.iova = 0;
	assert_ok(vfb_space_map(host.space, &small, 1, NULL));
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(host.space));
	host.space = NULL;
	assert_ok(vfb_memory_destroy(huge.memory));
	assert_ok(vfb_memory_destroy(small.memory));
	host_close(&host);
}

/* One group for a container, unless the kernel lets them share it; then all stay to the end. */
static void test_groups(void **state)
{
	struct fake_config shared = {.spapr = true, .spapr_shared = true};
	struct vfb_device *devices[2];
	struct vfb_range range;
	struct host host;

	(void)state;
	host_ready(&host, &spapr, VFB_BACKEND_SPAPR, 2);
	open_devices(&host, 1, devices);
	assert_fails(vfb_device_open(host.space, addresses[1], &devices[1]), -EPERM, addresses[1],
		     "another space");
	vfb_device_close(devices[0]);
	host_close(&host);

	host_start(&host, &shared, VFB_BACKEND_SPAPR, 2, devices);
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	vfb_device_close(devices[0]);
	assert_mapped(&host, &range);
	assert_ok(vfb_device_open(host.space, addresses[0], &devices[0]));
	vfb_device_close(devices[0]);
	host_end(&host, devices[1], range.memory);
}

/* Two spaces may map the same memory, but the boundaries of what they register must be the same. */
static void test_spaces(void **state)
{
	struct vfb_device *devices[2];
	struct vfb_space *second;
	struct vfb_range range;
	struct host host;

	(void)state;
	host_ready(&host, &spapr, VFB_BACKEND_SPAPR, 2);
	second = host.space;
	host_space(&host, VFB_BACKEND_SPAPR);
	open_devices(&host, 1, devices);
	assert_ok(vfb_device_open(second, addresses[1], &devices[1]));
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_ok(vfb_space_map(second, &range, 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, BYTES);
	assert_ok(vfb_space_unmap(second, &range, 1, NULL));
	range.bytes = BYTES - 4 * KIB;
	assert_fails(vfb_space_map(second, &range, 1, NULL), -EINVAL, "boundaries");
	vfb_device_close(devices[1]);
	assert_ok(vfb_space_destroy(second));
	host_end(&host, devices[0], range.memory);
}

static void refuse_space(const struct fake_config *config, struct vfb_space_opts opts,
			 const char *word)
{
	struct vfb_space *space;
	struct host host;

	host_open(&host, config);
	opts.size = sizeof(opts);
	assert_fails(vfb_space_create(host.ctx, &opts, &space), -ENOTSUP, word);
	host_close(&host);
}

static void test_refused(void **state)
{
	struct fake_config old = {.spapr = true, .spapr_v1 = true};
	struct fake_config none = {.spapr = true, .spapr_no_windows = true};
	struct vfb_bar bar = {.flags = VFB_BAR_ANY_IOVA | VFB_BAR_REQUIRED};
	struct vfb_device *device;
	struct host host;

	(void)state;
	refuse_space(&spapr, (struct vfb_space_opts){.flags = VFB_SPACE_KEEP_DOMAIN}, "spapr");
	refuse_space(&spapr, (struct vfb_space_opts){.flags = VFB_SPACE_DIRTY}, "spapr");
	refuse_space(&spapr, (struct vfb_space_opts){.on_demand = VFB_ON_DEMAND_FAULT}, "TOUCH");
	refuse_space(&spapr, (struct vfb_space_opts){.backend = VFB_BACKEND_TYPE1}, "POWER");
	refuse_space(&old, (struct vfb_space_opts){.backend = VFB_BACKEND_SPAPR}, "version 1");
	refuse_space(NULL, (struct vfb_space_opts){.backend = VFB_BACKEND_SPAPR}, "only POWER");

	host_ready(&host, &none, VFB_BACKEND_SPAPR, 1);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -ENOTSUP, addresses[0],
		     "ddw=on");
	host_close(&host);

	start(&host, NULL, &device);
	bar.device = device;
	assert_fails(vfb_bars_map(host.space, &bar, 1, NULL), -ENOTSUP, addresses[0], "memory");
	assert_fails(vfb_space_release_addresses(host.space), -ENOTSUP, "spapr");
	host_end(&host, device, NULL);
}

static void test_automatic(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, &spapr);
	assert_ok(vfb_space_create(host.ctx, NULL, &host.space));
	assert_int_equal(info_of(host.space).backend, VFB_BACKEND_SPAPR);
	assert_non_null(strstr(info_of(host.space).reason, "POWER"));
	host_close(&host);
}

/* The limit is checked before anything is done; and what the kernel says is passed on. */
static void test_memlock(void **state)
{
	struct fake_config config = {.spapr = true, .memlock = BYTES};
	struct vfb_device *device;
	struct vfb_range range;
	struct host host;

	(void)state;
	start(&host, &config, &device);
	range = range_of(make_memory(&host, 2 * BYTES, VFB_PAGE_4K), 0);
	range.bytes = 2 * BYTES;
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "RLIMIT_MEMLOCK");
	assert_int_equal(populated_of(range.memory), 0);
	range.bytes = BYTES;
	fake_fail_call(host.fake, "VFIO_IOMMU_SPAPR_REGISTER_MEMORY", 1, ENOMEM);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "cannot map");
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 1, EPERM);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EPERM, "registered");
	assert_int_equal(stats_of(&host).pinned_bytes, 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	host_end(&host, device, range.memory);
}

/* Beside what the owner of a container has registered, which stays. */
static void test_adopted(void **state)
{
	struct vfio_iommu_spapr_register_memory memory = {.argsz = sizeof(memory),
							  .size = 2 * BYTES};
	struct vfb_range ranges[2];
	int container, group;
	struct host host;

	(void)state;
	host_open(&host, &spapr);
	add_devices(host.fake, 1);
	container = host.sys->open(host.sys, "/dev/vfio/vfio", O_RDWR);
	group = host.sys->open(host.sys, "/dev/vfio/1", O_RDWR);
	assert_int_equal(host.sys->ioctl(host.sys, group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	assert_int_equal(host.sys->ioctl(host.sys, container, VFIO_SET_IOMMU,
					 (void *)(uintptr_t)VFIO_SPAPR_TCE_v2_IOMMU),
			 0);
	assert_ok(vfb_space_adopt(host.ctx, container, 0, NULL, &host.space));
	assert_int_equal(info_of(host.space).backend, VFB_BACKEND_SPAPR);
	ranges[0] = range_of(make_memory(&host, 2 * BYTES, VFB_PAGE_4K), 0);
	ranges[1] = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 2 * BYTES);
	memory.vaddr = (uintptr_t)address_of(ranges[0].memory);
	assert_int_equal(host.sys->ioctl(host.sys, container, VFIO_IOMMU_SPAPR_REGISTER_MEMORY,
					 &memory),
			 0);
	assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
	assert_mapped(&host, &ranges[0]);
	assert_int_equal(stats_of(&host).pinned_bytes, 3 * BYTES);
	assert_ok(vfb_space_unmap(host.space, ranges, 2, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, 2 * BYTES);
	ranges[1].iova = 8 * GIB;
	assert_fails(vfb_space_map(host.space, &ranges[1], 1, NULL), -ENXIO, "no DMA window");
	assert_ok(vfb_space_destroy(host.space));
	host.space = NULL;
	assert_int_equal(stats_of(&host).pinned_bytes, 2 * BYTES);
	assert_int_equal(stats_of(&host).window_removes, 0);
	host.sys->close(host.sys, group);
	host.sys->close(host.sys, container);
	assert_ok(vfb_memory_destroy(ranges[0].memory));
	assert_ok(vfb_memory_destroy(ranges[1].memory));
	host_close(&host);
}

/* What cannot be unregistered is when the device leaves; and windows that stay do no harm. */
static void test_stuck(void **state)
{
	struct vfb_device *device;
	struct vfb_range range;
	struct host host;

	(void)state;
	start(&host, NULL, &device);
	range = range_of(make_memory(&host, BYTES, VFB_PAGE_4K), 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	fake_fail_call(host.fake, "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY", 1, EBUSY);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_mapped(&host, &range);
	fake_fail_call(host.fake, "VFIO_IOMMU_SPAPR_TCE_REMOVE", 0, EPERM);
	vfb_device_close(device);
	fake_fail_none(host.fake);
	assert_int_equal(stats_of(&host).pinned_bytes, 0);
	host_end(&host, NULL, range.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),	      cmocka_unit_test(test_again),
		cmocka_unit_test(test_shared_memory), cmocka_unit_test(test_small_windows),
		cmocka_unit_test(test_large_pages),   cmocka_unit_test(test_groups),
		cmocka_unit_test(test_spaces),	      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_automatic),     cmocka_unit_test(test_memlock),
		cmocka_unit_test(test_adopted),	      cmocka_unit_test(test_stuck),
		cmocka_unit_test(test_window_bytes),  cmocka_unit_test(test_expected),
	};

	return cmocka_run_group_tests_name("spapr", tests, NULL, NULL);
}
