/* SPDX-License-Identifier: MIT */
/* Which pages devices have written to. */
#include "host.h"

#define PAGE  UINT64_C(4096)
#define PAGES UINT64_C(700000)

static uint64_t bitmap[PAGES / 64 + 1];

static void start_tracking(struct host *host, const struct fake_config *config,
			   enum vfb_backend backend, struct vfb_device **device)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;

	host_open(host, config);
	add_devices(host->fake, 1);
	opts.backend = backend;
	opts.flags = VFB_SPACE_DIRTY;
	assert_ok(vfb_space_create(host->ctx, &opts, &host->space));
	if (device)
		open_devices(host, 1, device);
}

static void map(struct host *host, struct vfb_memory *memory, uint64_t offset, uint64_t bytes,
		uint64_t iova)
{
	struct vfb_range range = {.memory = memory, .offset = offset, .bytes = bytes, .iova = iova};

	assert_ok(vfb_space_map(host->space, &range, 1, NULL));
}

static void write_page(struct host *host, uint64_t iova)
{
	assert_true(fake_dma_write(host->fake, addresses[0], iova, "word", 4));
}

static int read_area(struct host *host, uint64_t iova, uint64_t bytes)
{
	struct vfb_dirty_area area = {.iova = iova, .bytes = bytes, .bitmap = bitmap};
	int error;

	memset(bitmap, 0xa5, sizeof(bitmap));
	error = vfb_space_dirty(host->space, &area, 1);
	assert_int_equal(area.status, error);
	return error;
}

static bool is_dirty(uint64_t page)
{
	return bitmap[page / 64] >> page % 64 & 1;
}

static uint64_t count_dirty(uint64_t pages)
{
	uint64_t count = 0;

	for (uint64_t page = 0; page < pages; page++)
		count += is_dirty(page);
	return count;
}

static void end(struct host *host, struct vfb_device *device, struct vfb_memory *memory)
{
	assert_ok(vfb_device_close(device));
	assert_ok(vfb_space_unmap_all(host->space));
	assert_ok(vfb_memory_destroy(memory));
	host_close(host);
}

/* Ranges that begin and end anywhere in words of the bitmap, with holes between them, and one that
 * several threads read. */
static void test_holes(void **state)
{
	static const struct {
		uint64_t first, count;
	} ranges[] = {{3, 5}, {8, 2}, {20, 1}, {63, 2}, {70, 250}, {400, 64}, {512, 600000}};
	static const uint64_t written[] = {3,	7,   8,	  9,   20,  63,	    64,	    70,	   319,
					   400, 463, 512, 575, 576, 263000, 524800, 600511};
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		map(&host, memory, ranges[i].first * PAGE, ranges[i].count * PAGE,
		    GIB * 4 + ranges[i].first * PAGE);
	write_page(&host, 4 * GIB + 3 * PAGE);
	assert_ok(vfb_space_track_dirty(host.space, 1));
	assert_ok(read_area(&host, 4 * GIB, PAGES * PAGE));
	assert_int_equal(count_dirty(PAGES), 0);
	for (size_t i = 0; i < ARRAY_SIZE(written); i++)
		write_page(&host, 4 * GIB + written[i] * PAGE + 4000);
	assert_ok(read_area(&host, 4 * GIB, PAGES * PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(written); i++)
		assert_true(is_dirty(written[i]));
	assert_int_equal(count_dirty(PAGES), ARRAY_SIZE(written));
	/* Reading clears. */
	assert_ok(read_area(&host, 4 * GIB, PAGES * PAGE));
	assert_int_equal(count_dirty(PAGES), 0);
	/* A part of it, whose first page has bit 0. */
	write_page(&host, 4 * GIB + 600500 * PAGE);
	assert_ok(read_area(&host, 4 * GIB + 600499 * PAGE, 5 * PAGE));
	assert_int_equal(bitmap[0], 2);
	assert_int_equal(bitmap[1], UINT64_C(0xa5a5a5a5a5a5a5a5));
	assert_ok(vfb_space_track_dirty(host.space, 0));
	assert_fails(read_area(&host, 4 * GIB, PAGES * PAGE), -EINVAL, "vfb_space_track_dirty()");
	end(&host, device, memory);
}

/* type1 reports everything that is mapped. */
static void test_type1(void **state)
{
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_TYPE1, &device);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	map(&host, memory, 0, 3 * PAGE, 5 * PAGE);
	map(&host, memory, 3 * PAGE, 70 * PAGE, 10 * PAGE);
	assert_fails(read_area(&host, 0, 100 * PAGE), -EINVAL, "vfb_space_track_dirty()");
	assert_ok(vfb_space_track_dirty(host.space, 1));
	for (int round = 0; round < 2; round++) {
		assert_ok(read_area(&host, 0, 100 * PAGE));
		assert_int_equal(count_dirty(100), 73);
		assert_true(is_dirty(5) && is_dirty(7) && !is_dirty(8) && is_dirty(79));
	}
	assert_fails(read_area(&host, 6 * PAGE, 90 * PAGE), -EINVAL, "within a mapping");
	assert_ok(vfb_space_track_dirty(host.space, 0));
	end(&host, device, memory);
}

static void test_refused(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_dirty_area area = {.iova = 0, .bytes = PAGE, .bitmap = bitmap};
	struct vfb_space *space;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, NULL);
	assert_fails(vfb_space_track_dirty(host.space, 1), -ENXIO, "open a device first");
	assert_fails(vfb_space_dirty(host.space, &area, 1), -ENXIO, "open a device first");
	assert_fails(vfb_space_dirty(host.space, NULL, 1), -EINVAL, "NULL");
	opts.backend = VFB_BACKEND_NONE;
	opts.flags = VFB_SPACE_DIRTY;
	assert_fails(vfb_space_create(host.ctx, &opts, &space), -ENOTSUP, "VFB_SPACE_DIRTY");
	opts.backend = VFB_BACKEND_IOMMUFD;
	opts.dirty_domain = 7;
	assert_fails(vfb_space_create(host.ctx, &opts, &space), -EINVAL, "domain 7", "adopted");
	opts.flags = 0;
	assert_fails(vfb_space_create(host.ctx, &opts, &space), -EINVAL, "VFB_SPACE_DIRTY");
	opts.dirty_domain = 0;
	assert_ok(vfb_space_create(host.ctx, &opts, &space));
	assert_fails(vfb_space_track_dirty(space, 1), -EINVAL, "without VFB_SPACE_DIRTY");
	assert_fails(vfb_space_dirty(space, &area, 1), -EINVAL, "without VFB_SPACE_DIRTY");
	assert_ok(vfb_space_destroy(space));
	host_close(&host);
}

static void test_invalid_areas(void **state)
{
	const struct vfb_dirty_area areas[] = {
		{.iova = 0, .bytes = 0, .bitmap = bitmap},
		{.iova = 0, .bytes = PAGE, .bitmap = NULL},
		{.iova = 512, .bytes = PAGE, .bitmap = bitmap},
		{.iova = 0, .bytes = 512, .bitmap = bitmap},
		{.iova = -PAGE, .bytes = 2 * PAGE, .bitmap = bitmap},
		{.iova = 0, .bytes = PAGE, .bitmap = bitmap, .reserved = 1},
	};
	struct vfb_device *device;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	assert_ok(vfb_space_track_dirty(host.space, 1));
	for (size_t i = 0; i < ARRAY_SIZE(areas); i++) {
		struct vfb_dirty_area area[2] = {
			{.iova = GIB, .bytes = PAGE, .bitmap = bitmap},
			areas[i],
		};

		bitmap[0] = 0xa5;
		assert_fails(vfb_space_dirty(host.space, area, 2), -EINVAL, "area 1");
		assert_int_equal(area[0].status, -ECANCELED);
		assert_int_equal(area[1].status, -EINVAL);
		/* Nothing has been read. */
		assert_int_equal(bitmap[0], 0xa5);
	}
	assert_ok(vfb_space_dirty(host.space, NULL, 0));
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

static void test_failures(void **state)
{
	struct vfb_dirty_area areas[2] = {{.iova = 0, .bytes = MIB, .bitmap = bitmap},
					  {.iova = MIB, .bytes = MIB, .bitmap = bitmap + 4}};
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	map(&host, memory, 0, 2 * MIB, 0);
	fake_fail_call(host.fake, "IOMMU_HWPT_SET_DIRTY_TRACKING", 1, ENOMEM);
	assert_fails(vfb_space_track_dirty(host.space, 1), -ENOMEM, "SET_DIRTY_TRACKING");
	assert_ok(vfb_space_track_dirty(host.space, 1));
	fake_fail_call(host.fake, "IOMMU_HWPT_GET_DIRTY_BITMAP", 1, EFAULT);
	assert_fails(vfb_space_dirty(host.space, areas, 2), -EFAULT, "GET_DIRTY_BITMAP", "1 MiB");
	/* The other area was read. */
	assert_int_equal(areas[0].status + areas[1].status, -EFAULT);
	assert_ok(vfb_space_dirty(host.space, areas, 2));
	end(&host, device, memory);
}

/* The IOMMU cannot: whoever asks for it learns that when the first device is opened. */
static void test_no_hardware(void **state)
{
	struct fake_config config = {.no_dirty = true};
	struct vfb_device *device;
	struct host host;

	(void)state;
	start_tracking(&host, &config, VFB_BACKEND_IOMMUFD, NULL);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -ENOTSUP, addresses[0],
		     "VFB_SPACE_DIRTY");
	host_close(&host);
}

/* A domain of the caller's is tracked, too. */
static void test_adopted_domain(void **state)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *device;
	struct vfb_memory *memory;
	struct host host;
	struct vfb_space *owner;
	struct vfb_space_info info;

	(void)state;
	/* The caller is another space here, whose first domain has this ID in the fake kernel. */
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	owner = host.space;
	info = info_of(owner);
	opts.flags = VFB_SPACE_DIRTY;
	opts.dirty_domain = 3;
	assert_ok(vfb_space_adopt(host.ctx, info.fd, info.ioas, &opts, &host.space));
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	map(&host, memory, 0, 2 * MIB, 0);
	assert_ok(vfb_space_track_dirty(host.space, 1));
	write_page(&host, 17 * PAGE);
	assert_ok(read_area(&host, 0, 64 * PAGE));
	assert_int_equal(bitmap[0], 1 << 17);
	assert_ok(vfb_space_destroy(host.space));
	/* Without its ID nothing can be known of it. */
	opts.dirty_domain = 0;
	assert_ok(vfb_space_adopt(host.ctx, info.fd, info.ioas, &opts, &host.space));
	map(&host, memory, 0, 2 * MIB, 0);
	assert_fails(vfb_space_track_dirty(host.space, 1), -ENXIO, "dirty_domain");
	assert_fails(read_area(&host, 0, 64 * PAGE), -ENXIO, "dirty_domain");
	assert_ok(vfb_space_destroy(host.space));
	assert_ok(vfb_memory_destroy(memory));
	host.space = owner;
	assert_ok(vfb_device_close(device));
	host_close(&host);
}

/* A device behind another IOMMU gets a domain of its own, which is tracked from the beginning, or
 * does not remain. */
static void test_second_domain(void **state)
{
	struct vfb_device *device, *second;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	start_tracking(&host, NULL, VFB_BACKEND_IOMMUFD, &device);
	add_device(host.fake, addresses[1], 2, NULL);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	map(&host, memory, 0, 2 * MIB, 0);
	assert_ok(vfb_space_track_dirty(host.space, 1));
	fake_fail_call(host.fake, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 1, EINVAL);
	fake_fail_call(host.fake, "IOMMU_HWPT_SET_DIRTY_TRACKING", 1, ENOMEM);
	assert_fails(vfb_device_open(host.space, addresses[1], &second), -ENOMEM, addresses[1]);
	write_page(&host, 17 * PAGE);
	assert_ok(read_area(&host, 0, 2 * MIB));
	assert_true(is_dirty(17));
	fake_fail_call(host.fake, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 1, EINVAL);
	assert_ok(vfb_device_open(host.space, addresses[1], &second));
	write_page(&host, 18 * PAGE);
	assert_ok(read_area(&host, 0, 2 * MIB));
	assert_int_equal(bitmap[0], 1 << 18);
	assert_ok(vfb_space_track_dirty(host.space, 0));
	assert_ok(vfb_device_close(second));
	end(&host, device, memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holes),	       cmocka_unit_test(test_type1),
		cmocka_unit_test(test_refused),	       cmocka_unit_test(test_invalid_areas),
		cmocka_unit_test(test_failures),       cmocka_unit_test(test_no_hardware),
		cmocka_unit_test(test_adopted_domain), cmocka_unit_test(test_second_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
