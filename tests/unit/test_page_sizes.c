/* SPDX-License-Identifier: MIT */
/*
 * Hosts whose base pages have 16 or 64 KiB, and hugetlb pages of other sizes than 2 MiB and 1 GiB,
 * as kernels of arm64 and ppc64 have them.
 */
#include <sys/mman.h>

#include "host.h"

/* Base pages, and the two sizes of hugetlb pages that go with them on arm64. */
static const struct fake_config hosts[] = {
	{.base_page = 4 * KIB, .huge_bytes = {64 * KIB, 32 * MIB}},
	{.base_page = 16 * KIB, .huge_bytes = {2 * MIB, 32 * MIB}},
	{.base_page = 64 * KIB, .huge_bytes = {2 * MIB, 512 * MIB}},
	{.base_page = 64 * KIB, .huge_bytes = {512 * MIB, 16 * GIB}},
};

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static struct vfb_memory *make_huge(struct host *host, uint64_t bytes, uint64_t page_bytes)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = bytes;
	opts.page_size = VFB_PAGE_HUGE;
	opts.page_bytes = page_bytes;
	assert_ok(vfb_memory_create(host->ctx, &opts, &memory));
	return memory;
}

/* Planned, mapped, translated, unmapped: parts that are multiples of a base page, and others not.
 */
static void use_base_pages(const struct fake_config *config, enum vfb_backend backend)
{
	uint64_t page = config->base_page;
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	struct vfb_translation piece;
	struct vfb_device *device;
	struct vfb_range range = {.iova = GIB + page};
	struct vfb_memory *memory;
	struct host host;

	host_start(&host, config, backend, 1, &device);
	memory = make_memory(&host, 256 * page, VFB_PAGE_BASE);
	assert_int_equal(memory_info_of(memory).page_bytes, page);
	range.memory = memory;
	range.bytes = page / 2;
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "pages of");
	range.bytes = 3 * page;
	range.offset = page / 2;
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "pages of");
	range.offset = 5 * page;
	assert_ok(vfb_space_map_plan(host.space, &range, 1, NULL, &plan));
	assert_int_equal(plan.bytes, 3 * page);
	assert_int_equal(plan.populate_bytes, 3 * page);
	assert_int_equal(plan.map_calls, 1);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_mapped(&host, &range);
	assert_int_equal(vfb_space_translate(host.space, range.iova + page, page, &piece, 1), 1);
	assert_ptr_equal(piece.address, address_of(memory) + 6 * page);
	assert_int_equal(piece.bytes, page);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	assert_int_equal(stats_of(&host).pinned_bytes, 0);
	host_end(&host, device, memory);
}

static void test_base_pages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		for (size_t k = 0; k < ARRAY_SIZE(backends); k++)
			use_base_pages(&hosts[i], backends[k]);
}

/* A page that the caller has released is found, whatever its size, and populated again. */
static void test_released(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		uint64_t page = hosts[i].base_page;
		struct vfb_memory *memory;
		struct host host;

		host_open(&host, &hosts[i]);
		memory = make_memory(&host, 4 * MIB, VFB_PAGE_BASE);
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(host.sys->madvise(host.sys, address_of(memory) + 7 * page, page,
						   MADV_DONTNEED),
				 0);
		assert_int_equal(fake_populated(host.fake, address_of(memory), 4 * MIB),
				 4 * MIB - page);
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(fake_populated(host.fake, address_of(memory), 4 * MIB), 4 * MIB);
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	}
}

/* Each size that the kernel has a pool of; the IOVA is aligned to it. */
static void test_huge(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		for (size_t pool = 0; pool < 2; pool++) {
			uint64_t page = hosts[i].huge_bytes[pool];
			struct fake_config config = hosts[i];
			struct vfb_range range = {.flags = VFB_RANGE_ANY_IOVA};
			struct vfb_device *device;
			struct host host;

			config.pages_2m[0] = config.pages_1g[0] = 3;
			config.memory[0] = 256 * GIB;
			host_start(&host, &config, VFB_BACKEND_TYPE1, 1, &device);
			range.memory = make_huge(&host, 2 * page, page);
			range.bytes = 2 * page;
			assert_int_equal(memory_info_of(range.memory).page_size, VFB_PAGE_HUGE);
			assert_int_equal(memory_info_of(range.memory).page_bytes, page);
			assert_int_equal((uintptr_t)address_of(range.memory) % page, 0);
			assert_ok(vfb_space_map(host.space, &range, 1, NULL));
			assert_mapped(&host, &range);
			if (page > 2 * MIB)
				assert_int_equal(range.iova % page, 0);
			host_end(&host, device, range.memory);
		}
}

static void test_refused(void **state)
{
	struct vfb_memory_opts opts = {.size = sizeof(opts), .bytes = GIB};
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.base_page = 64 * KIB,
					       .huge_bytes = {2 * MIB, 512 * MIB},
					       .pages_1g = {1}});
	opts.page_bytes = 2 * MIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "VFB_PAGE_HUGE");
	opts.page_size = VFB_PAGE_HUGE;
	opts.page_bytes = 64 * KIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "64 KiB");
	opts.page_bytes = 3 * MIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "power of two");
	opts.page_bytes = 32 * MIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOTSUP, "32 MiB",
		     "hugepages-32768kB");
	opts.page_bytes = 512 * MIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOMEM,
		     "need 2 hugepages of 512 MiB, 1 are free");
	opts.bytes = GIB + 2 * MIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "not a multiple",
		     "512 MiB");
	opts.page_size++;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "unknown");
	host_close(&host);
}

/* The host's sizes are tried, the largest first, and those from which it was adopted are found. */
static void test_auto(void **state)
{
	struct vfb_memory_adopt_opts adopt = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory *memory, *adopted;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.base_page = 64 * KIB,
					       .huge_bytes = {2 * MIB, 512 * MIB},
					       .pages_2m = {8},
					       .pages_1g = {2}});
	memory = make_memory(&host, GIB, VFB_PAGE_AUTO);
	assert_int_equal(memory_info_of(memory).page_size, VFB_PAGE_HUGE);
	assert_int_equal(memory_info_of(memory).page_bytes, 512 * MIB);
	adopt.address = address_of(memory);
	adopt.bytes = GIB;
	assert_ok(vfb_memory_adopt(host.ctx, &adopt, &adopted));
	assert_int_equal(memory_info_of(adopted).page_size, VFB_PAGE_HUGE);
	assert_int_equal(memory_info_of(adopted).page_bytes, 512 * MIB);
	assert_ok(vfb_memory_destroy(adopted));
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(&host, 16 * MIB, VFB_PAGE_AUTO);
	assert_int_equal(memory_info_of(memory).page_size, VFB_PAGE_2M);
	assert_non_null(strstr(memory_info_of(memory).fallback, "\n512 MiB: "));
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Limits of a cgroup are found under the kernel's name of the size. */
static void test_limit(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.base_page = 64 * KIB,
					       .huge_bytes = {512 * MIB, 16 * GIB},
					       .pages_2m = {2},
					       .hugetlb_limit_2m = 512 * MIB});
	memory = make_huge(&host, GIB, 512 * MIB);
	assert_fails(vfb_memory_populate(memory), -ENOMEM, "hugetlb.512MB.max");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_pages), cmocka_unit_test(test_released),
		cmocka_unit_test(test_huge),	   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_auto),	   cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests_name("page sizes", tests, NULL, NULL);
}
