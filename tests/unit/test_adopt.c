/* SPDX-License-Identifier: MIT */
/* Spaces and memory of the caller's when calls fail, and kernels that cannot map by file. */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "host.h"
#include "sys/uapi.h"

#define BYTES (64 * MIB)

static struct vfb_memory *make_memfd(struct host *host)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = BYTES;
	opts.kind = VFB_MEMORY_MEMFD;
	opts.page_size = VFB_PAGE_4K;
	assert_ok(vfb_memory_create(host->ctx, &opts, &memory));
	return memory;
}

/* Before Linux 6.13 it goes by address, unless that was not wanted. */
static void test_no_map_file(void **state)
{
	struct fake_config config = {.no_map_file = true};

	(void)state;
	for (int by = VFB_MAP_BY_BEST; by <= VFB_MAP_BY_FILE; by++) {
		struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;

		host_open(&host, &config);
		add_devices(host.fake, 1);
		opts.backend = VFB_BACKEND_IOMMUFD;
		opts.map_by = by;
		assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
		open_devices(&host, 1, &device);
		range.memory = make_memfd(&host);
		if (by == VFB_MAP_BY_FILE) {
			assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOTSUP,
				     "Linux 6.13");
		} else {
			assert_ok(vfb_space_map(host.space, &range, 1, NULL));
			assert_mapped(&host, &range);
			assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		}
		host_end(&host, device, range.memory);
	}
}

/* A call of every kind fails while a domain that stays is made; the next try finds all well. */
static void test_keep_domain_fails(void **state)
{
	static const char *const calls[] = {"IOMMU_HWPT_ALLOC", "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
					    "IOMMU_IOAS_IOVA_RANGES"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;

		host_open(&host, NULL);
		add_devices(host.fake, 1);
		opts.backend = VFB_BACKEND_IOMMUFD;
		opts.flags = VFB_SPACE_KEEP_DOMAIN;
		assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
		fake_fail_call(host.fake, calls[i], 1, EIO);
		assert_fails(vfb_device_open(host.space, addresses[0], &device), -EIO, "cannot");
		assert_null(device);
		open_devices(&host, 1, &device);
		range.memory = make_memfd(&host);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_mapped(&host, &range);
		vfb_device_close(device);
		assert_mapped(&host, &range);
		assert_ok(vfb_space_unmap_all(host.space));
		host_end(&host, NULL, range.memory);
	}
}

/* An iommufd that was adopted keeps nothing that the library has made in it. */
static void test_adopted_iommufd(void **state)
{
	struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct vfb_iommu_destroy destroy = {.size = sizeof(destroy)};
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_range range = {.bytes = BYTES, .iova = GIB};
	struct vfb_device *device;
	struct host host;
	int fd;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	fd = host.sys->open(host.sys, "/dev/iommu", O_RDWR);
	assert_int_equal(host.sys->ioctl(host.sys, fd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
	opts.flags = VFB_SPACE_KEEP_DOMAIN;
	fake_fail_call(host.fake, "IOMMU_IOAS_IOVA_RANGES", 1, EIO);
	assert_fails(vfb_space_adopt(host.ctx, fd, alloc.out_ioas_id, &opts, &host.space), -EIO,
		     "cannot be adopted");
	assert_null(host.space);
	assert_ok(vfb_space_adopt(host.ctx, fd, alloc.out_ioas_id, &opts, &host.space));
	open_devices(&host, 1, &device);
	range.memory = make_memfd(&host);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	vfb_device_close(device);
	assert_mapped(&host, &range);
	/* What cannot be unmapped keeps the space. */
	fake_fail_call(host.fake, "IOMMU_IOAS_UNMAP", 0, EBUSY);
	assert_fails(vfb_space_destroy(host.space), -EBUSY, "cannot unmap");
	fake_fail_none(host.fake);
	assert_ok(vfb_space_destroy(host.space));
	host.space = NULL;
	assert_not_mapped(&host, GIB);
	destroy.id = alloc.out_ioas_id;
	assert_int_equal(host.sys->ioctl(host.sys, fd, VFB_IOMMU_DESTROY, &destroy), 0);
	host.sys->close(host.sys, fd);
	host_end(&host, NULL, range.memory);
}

/* A kernel that cannot hand over does not release either: nobody could take it back. */
static void test_no_handover(void **state)
{
	struct fake_config config = {.no_map_file = true};
	struct host host;

	(void)state;
	host_ready(&host, &config, VFB_BACKEND_IOMMUFD, 1);
	assert_fails(vfb_space_release_addresses(host.space), -ENOTSUP, "Linux 6.13");
	assert_ok(vfb_space_unmap_all(host.space));
	host_close(&host);
}

/* The file cannot be mapped into the process. */
static void test_adopted_memory(void **state)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory, *own;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	own = make_memfd(&host);
	assert_ok(vfb_memory_info(own, &info));
	opts.bytes = BYTES;
	opts.fd = info.fd;
	opts.flags = VFB_MEMORY_ADOPT_HAS_FD | VFB_MEMORY_ADOPT_POPULATED;
	fake_fail_call(host.fake, "mmap", 1, ENOMEM);
	assert_fails(vfb_memory_adopt(host.ctx, &opts, &memory), -ENOMEM, "cannot map 64 MiB");
	assert_null(memory);
	assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
	assert_int_equal(populated_of(memory), BYTES);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(stats_of(&host).populate_calls, 0);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_memory_destroy(own));
	host_close(&host);
}

/* Its pages are found out, and freed at the end while the program has them mapped. */
static void test_adopted_hugetlb(void **state)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct fake_config config = {.pages_2m = {200}};
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	const struct vfb_sys *sys;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &config);
	sys = fake_sys(host.fake);
	opts.bytes = 192 * 2 * MIB;
	assert_ok(sys->mmap(sys, NULL, opts.bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << 26, -1, 0,
			    &opts.address));
	for (int frees = 0; frees < 2; frees++) {
		opts.flags = frees ? VFB_MEMORY_ADOPT_FREE : 0;
		assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
		assert_ok(vfb_memory_info(memory, &info));
		assert_int_equal(info.page_size, VFB_PAGE_2M);
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(fake_free_2m(host.fake, 0), 8);
		/* Without a job, the caller frees them. */
		if (frees)
			fake_fail_call(host.fake, "eventfd", 1, EMFILE);
		assert_ok(vfb_memory_destroy(memory));
		assert_int_equal(fake_free_2m(host.fake, 0), 8);
	}
	assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_2m(host.fake, 0), 200);
	opts.flags |= VFB_MEMORY_ADOPT_HAS_FD;
	assert_fails(vfb_memory_adopt(host.ctx, &opts, &memory), -EINVAL, "VFB_MEMORY_ADOPT_FREE");
	assert_ok(sys->munmap(sys, opts.address, opts.bytes));
	host_close(&host);
}

/*
 * Memory of a pool that is mapped from a file: what others leave of the host does not matter, nor
 * how the part that is adopted is aligned.
 */
static void test_adopted_hugetlb_file(void **state)
{
	static const struct {
		uint64_t offset, bytes;
		enum vfb_page_size page_size;
	} parts[] = {
		{2 * MIB, 12 * MIB, VFB_PAGE_2M},
		{15 * MIB, 33 * MIB, VFB_PAGE_BASE},
		{0, 64 * MIB, VFB_PAGE_2M},
	};
	struct fake_config config = {.pages_2m = {32}, .memory = {8 * MIB}};
	struct host host;
	const struct vfb_sys *sys;
	void *address;
	int fd;

	(void)state;
	host_open(&host, &config);
	sys = fake_sys(host.fake);
	fd = sys->memfd_create(sys, "guest", MFD_CLOEXEC | MFD_HUGETLB | 21 << 26);
	assert_true(fd >= 0);
	assert_ok(sys->ftruncate(sys, fd, 64 * MIB));
	assert_ok(sys->mmap(sys, NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0,
			    &address));
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
		struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
		struct vfb_memory *memory;

		opts.address = (char *)address + parts[i].offset;
		opts.bytes = parts[i].bytes;
		assert_ok(vfb_memory_adopt(host.ctx, &opts, &memory));
		assert_ok(vfb_memory_info(memory, &info));
		assert_int_equal(info.page_size, parts[i].page_size);
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(populated_of(memory), parts[i].bytes);
		assert_ok(vfb_memory_destroy(memory));
	}
	assert_int_equal(fake_free_2m(host.fake, 0), 0);
	assert_ok(sys->munmap(sys, address, 64 * MIB));
	sys->close(sys, fd);
	host_close(&host);
}

/* One call on type1, several at once on iommufd; refused while a job is under way. */
static void test_unmap_all(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range ranges[4] = {0};
		struct vfb_memory *memory;
		struct vfb_device *device;
		struct vfb_job *job;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		memory = make_memory(&host, 4 * GIB, VFB_PAGE_4K);
		for (uint64_t i = 0; i < 4; i++)
			ranges[i] = (struct vfb_range){.memory = memory,
						       .offset = i * GIB,
						       .bytes = GIB,
						       .iova = (2 * i + 4) * GIB};
		assert_ok(vfb_space_map_start(host.space, ranges, 4, NULL, &job));
		assert_fails(vfb_space_unmap_all(host.space), -EBUSY, "wait for it");
		assert_ok(vfb_job_wait(job, UINT64_MAX));
		vfb_job_destroy(job);
		assert_ok(vfb_space_unmap_all(host.space));
		assert_int_equal(stats_of(&host).mappings, 0);
		assert_int_equal(info_of(host.space).mappings, 0);
		if (b == 0) {
			assert_int_equal(stats_of(&host).unmap_calls, 1);
			assert_int_equal(info_of(host.space).entries_left, 65535);
		} else {
			assert_true(stats_of(&host).max_unmaps_in_flight > 1);
		}
		/* Nothing is nothing. */
		assert_ok(vfb_space_unmap_all(host.space));
		host_end(&host, device, memory);
	}
}

/* Releasing fails half-way, and so does taking back: all is as before each time. */
static void test_handover_fails(void **state)
{
	struct vfb_range ranges[2] = {{.bytes = MIB, .iova = GIB}, {.bytes = MIB, .iova = 2 * GIB}};
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	ranges[0].memory = ranges[1].memory = make_memfd(&host);
	assert_ok(vfb_space_map(host.space, ranges, 2, NULL));
	assert_fails(vfb_space_adopt_addresses(host.space, ranges, 2), -EBUSY, "already");
	fake_fail_call(host.fake, "VFIO_IOMMU_UNMAP_DMA", 2, EIO);
	assert_fails(vfb_space_release_addresses(host.space), -EIO, "0x80000000");
	assert_mapped(&host, &ranges[0]);
	assert_ok(vfb_space_unmap(host.space, &ranges[0], 1, NULL));
	assert_ok(vfb_space_map(host.space, &ranges[0], 1, NULL));
	assert_ok(vfb_space_release_addresses(host.space));
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 1, ENOMEM);
	assert_fails(vfb_space_adopt_addresses(host.space, NULL, 0), -ENOMEM, "cannot take over");
	assert_fails(vfb_space_unmap_all(host.space), -EBUSY, "released");
	assert_ok(vfb_space_adopt_addresses(host.space, NULL, 0));
	assert_ok(vfb_space_unmap_all(host.space));
	host_end(&host, device, ranges[0].memory);

	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	ranges[0].memory = make_memfd(&host);
	assert_ok(vfb_space_map(host.space, ranges, 1, NULL));
	assert_ok(vfb_space_release_addresses(host.space));
	fake_fail_call(host.fake, "IOMMU_IOAS_CHANGE_PROCESS", 1, ENOTTY);
	assert_fails(vfb_space_adopt_addresses(host.space, NULL, 0), -ENOTSUP, "Linux 6.13");
	assert_ok(vfb_space_adopt_addresses(host.space, NULL, 0));
	assert_ok(vfb_space_unmap_all(host.space));
	host_end(&host, device, ranges[0].memory);

	host_open(&host, NULL);
	host_space(&host, VFB_BACKEND_NONE);
	assert_fails(vfb_space_release_addresses(host.space), -ENOTSUP, "no IOMMU");
	host_close(&host);
}

static void refuse_to_adopt(struct host *host, const char *address, const char *node)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;
	int fd = host->sys->open(host->sys, node, O_RDWR);
	struct vfb_device *device;

	bind.iommufd = info_of(host->space).fd;
	assert_int_equal(host->sys->ioctl(host->sys, fd, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
	opts.space = host->space;
	opts.address = address;
	assert_fails(vfb_device_adopt(host->ctx, fd, &opts, &device), -EBUSY, "released");
	assert_null(device);
	host->sys->close(host->sys, fd);
}

/* What no device has mapped yet is not mapped while the addresses are released. */
static void test_released_without_device(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};
	struct vfb_device_request request = {.address = addresses[0]};
	struct vfb_range range = {.bytes = MIB, .iova = GIB};
	struct vfb_device *device;
	struct host host;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		host_open(&host, NULL);
		add_devices(host.fake, 2);
		host_space(&host, backends[i]);
		range.memory = make_memfd(&host);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_ok(vfb_space_release_addresses(host.space));
		assert_fails(vfb_devices_open(host.space, &request, 1, NULL), -EBUSY, "released");
		assert_null(request.device);
		if (backends[i] == VFB_BACKEND_IOMMUFD)
			refuse_to_adopt(&host, addresses[1], "/dev/vfio/devices/vfio1");
		assert_ok(vfb_space_adopt_addresses(host.space, NULL, 0));
		open_devices(&host, 1, &device);
		assert_mapped(&host, &range);
		assert_ok(vfb_space_unmap_all(host.space));
		host_end(&host, device, range.memory);
	}
}

static enum vfb_backend choose(struct host *host, enum vfb_page_size page_size, const char *reason)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_space_info info;
	struct vfb_space *space;

	opts.page_size = page_size;
	assert_ok(vfb_space_create(host->ctx, &opts, &space));
	info = info_of(space);
	assert_non_null(strstr(info.reason, reason));
	assert_ok(vfb_space_destroy(space));
	return info.backend;
}

/* What was measured decides, and is measured once; of one backend where there is no other. */
static void test_measure(void **state)
{
	struct fake_config configs[] = {{.no_iommufd = true}, {.no_type1 = true}};
	unsigned int resets;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_int_equal(choose(&host, VFB_PAGE_4K, "not measured"), VFB_BACKEND_IOMMUFD);
	assert_fails(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_AUTO, 0), -EINVAL,
		     "page size");
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 1, EFAULT);
	assert_fails(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_4K, 0), -EFAULT,
		     "cannot map");
	assert_int_equal(choose(&host, VFB_PAGE_4K, "not measured"), VFB_BACKEND_IOMMUFD);
	assert_ok(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_4K, 0));
	resets = stats_of(&host).resets;
	assert_ok(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_4K, 0));
	assert_int_equal(stats_of(&host).resets, resets);
	/* Four workers at once, against one. */
	assert_int_equal(choose(&host, VFB_PAGE_4K, "measured: "), VFB_BACKEND_IOMMUFD);
	assert_int_equal(choose(&host, VFB_PAGE_2M, "not measured"), VFB_BACKEND_IOMMUFD);
	host_close(&host);
	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		host_open(&host, &configs[i]);
		add_devices(host.fake, 1);
		assert_ok(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_4K, 0));
		assert_int_equal(stats_of(&host).resets, 2);
		assert_int_equal(choose(&host, VFB_PAGE_4K,
					i ? "not measured" : "iommufd is not available"),
				 i ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1);
		host_close(&host);
	}
	configs[0].no_type1 = true;
	host_open(&host, &configs[0]);
	add_devices(host.fake, 1);
	assert_fails(vfb_backend_measure(host.ctx, addresses[0], VFB_PAGE_4K, 0), -ENOTSUP, "use");
	host_close(&host);
}

/* A device as another program would have opened it: bound, and attached unless @ioas is 0. */
static int open_node(struct host *host, int iommufd, uint32_t ioas)
{
	struct vfb_vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	struct vfb_vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = ioas};
	const struct vfb_sys *sys = host->sys;
	int fd = sys->open(sys, "/dev/vfio/devices/vfio0", O_RDWR);

	assert_int_equal(sys->ioctl(sys, fd, VFB_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
	assert_int_equal(sys->ioctl(sys, fd, VFB_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach), 0);
	return fd;
}

/* Each call of adopting a device fails in turn: all is as before, and the next try succeeds. */
static void test_adopted_device_fails(void **state)
{
	unsigned int n = 0;
	bool failed;

	(void)state;
	do {
		struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;
		struct vfb_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
		struct vfb_range range = {.bytes = BYTES, .iova = GIB};
		struct vfb_device *device;
		struct host host;
		int fd, node, error;

		host_open(&host, NULL);
		add_devices(host.fake, 1);
		fd = host.sys->open(host.sys, "/dev/iommu", O_RDWR);
		assert_int_equal(host.sys->ioctl(host.sys, fd, VFB_IOMMU_IOAS_ALLOC, &alloc), 0);
		assert_ok(vfb_space_adopt(host.ctx, fd, alloc.out_ioas_id, NULL, &host.space));
		/* Kept for the first device. */
		range.memory = make_memfd(&host);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		node = open_node(&host, fd, alloc.out_ioas_id);
		opts.space = host.space;
		clear_last_error();
		fake_fail_nth(host.fake, ++n, 0);
		error = vfb_device_adopt(host.ctx, node, &opts, &device);
		failed = fake_failed(host.fake);
		fake_fail_none(host.fake);
		/* The device's NUMA node need not be known. */
		assert_true(failed || !error);
		if (error) {
			assert_null(device);
			assert_string_not_equal(vfb_last_error(), "");
			assert_int_equal(info_of(host.space).devices, 0);
			assert_ok(vfb_device_adopt(host.ctx, node, &opts, &device));
		}
		assert_mapped(&host, &range);
		vfb_device_close(device);
		assert_ok(vfb_space_destroy(host.space));
		host.space = NULL;
		host.sys->close(host.sys, node);
		host.sys->close(host.sys, fd);
		host_end(&host, NULL, range.memory);
	} while (failed);
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_map_file),
		cmocka_unit_test(test_keep_domain_fails),
		cmocka_unit_test(test_adopted_iommufd),
		cmocka_unit_test(test_no_handover),
		cmocka_unit_test(test_adopted_memory),
		cmocka_unit_test(test_adopted_hugetlb),
		cmocka_unit_test(test_adopted_hugetlb_file),
		cmocka_unit_test(test_unmap_all),
		cmocka_unit_test(test_measure),
		cmocka_unit_test(test_handover_fails),
		cmocka_unit_test(test_released_without_device),
		cmocka_unit_test(test_adopted_device_fails),
	};

	return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
