/* SPDX-License-Identifier: MIT */
/* Memory: what it is made of, where it lies, how it is populated and given back. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "host.h"

/* Every kind of every page size can be created, used and given back. */
static void test_kinds(void **state)
{
	static const struct {
		enum vfb_page_size asked, got;
		uint64_t bytes, page_bytes, align;
	} sizes[] = {
		{VFB_PAGE_4K, VFB_PAGE_4K, 12 * KIB, 4 * KIB, 2 * MIB},
		{VFB_PAGE_4K, VFB_PAGE_4K, 5 * MIB, 4 * KIB, 2 * MIB},
		{VFB_PAGE_2M, VFB_PAGE_2M, 6 * MIB, 2 * MIB, 2 * MIB},
		{VFB_PAGE_1G, VFB_PAGE_1G, 2 * GIB, GIB, GIB},
		{VFB_PAGE_AUTO, VFB_PAGE_1G, 3 * GIB, GIB, GIB},
		{VFB_PAGE_AUTO, VFB_PAGE_2M, 6 * MIB, 2 * MIB, 2 * MIB},
	};
	struct fake_config config = {.pages_2m = {1024}, .pages_1g = {4}};
	struct host host;

	(void)state;
	host_open(&host, &config);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		size_t n = i / 2;
		struct vfb_memory_opts opts = {
			.size = sizeof(opts),
			.bytes = sizes[n].bytes,
			.page_size = sizes[n].asked,
			.kind = i % 2 ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS,
		};
		struct vfb_memory_info info;
		struct vfb_memory *memory;

		assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
		info = memory_info_of(memory);
		assert_int_equal(info.bytes, sizes[n].bytes);
		assert_int_equal(info.page_size, sizes[n].got);
		assert_int_equal(info.page_bytes, sizes[n].page_bytes);
		assert_int_equal((uintptr_t)info.address % sizes[n].align, 0);
		assert_int_equal(info.populated_bytes, 0);
		assert_int_equal(fake_populated(host.fake, info.address, info.bytes), 0);
		assert_true(info.fd >= 0 ? i % 2 : !(i % 2));
		/* Populated to the last page. */
		assert_ok(vfb_memory_populate(memory));
		assert_int_equal(populated_of(memory), info.bytes);
		assert_int_equal(fake_populated(host.fake, info.address, info.bytes), info.bytes);
		assert_ok(vfb_memory_destroy(memory));
	}
	host_close(&host);
}

/* It can be written, and a memfd shared. */
static void test_content(void **state)
{
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = 2 * MIB,
		.page_size = VFB_PAGE_4K,
		.kind = VFB_MEMORY_MEMFD,
	};
	struct vfb_memory_info info;
	struct vfb_memory *memory;
	struct host host;
	struct stat stat;
	char *shared;

	(void)state;
	/* And before Linux 6.3. */
	host_open(&host, &(struct fake_config){.no_noexec_seal = true});
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	info = memory_info_of(memory);
	assert_int_equal(fstat(info.fd, &stat), 0);
	assert_int_equal(stat.st_size, 2 * MIB);
	shared = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, info.fd, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	strcpy((char *)info.address + MIB, "for another process");
	assert_string_equal(shared + MIB, "for another process");
	munmap(shared, 2 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_memory_destroy(NULL));
	host_close(&host);
}

static void test_several(void **state)
{
	struct vfb_memory *memories[3];
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;
	struct vfb_job *job = (void *)1;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_memory_populate_start(memories, 0, &job), -EINVAL, "no memory");
	assert_null(job);
	for (size_t i = 0; i < 3; i++)
		memories[i] = make_memory(&host, (i + 1) * 100 * MIB, VFB_PAGE_THP);
	assert_ok(vfb_memory_populate_start(memories, 3, &job));
	assert_fails(vfb_memory_destroy(memories[1]), -EBUSY, "jobs work on it");
	assert_ok(vfb_job_wait(job, UINT64_MAX));
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries, 3);
	assert_int_equal(progress.entries_done, 3);
	assert_int_equal(progress.bytes, 600 * MIB);
	assert_int_equal(progress.bytes_done, 600 * MIB);
	/* Its results stay when the job goes; before, too, the memory is free. */
	assert_ok(vfb_memory_destroy(memories[0]));
	vfb_job_destroy(job);
	assert_int_equal(populated_of(memories[2]), 300 * MIB);
	for (size_t i = 1; i < 3; i++)
		assert_ok(vfb_memory_destroy(memories[i]));
	host_close(&host);
}

/* Memory of two contexts is not populated in one job. */
static void test_other_context(void **state)
{
	struct vfb_memory *memories[2];
	struct host hosts[2];
	struct vfb_job *job = (void *)1;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		host_open(&hosts[i], NULL);
		memories[i] = make_memory(&hosts[i], 2 * MIB, VFB_PAGE_4K);
	}
	assert_fails(vfb_memory_populate_start(memories, 2, &job), -EINVAL, "memory 1",
		     "another context");
	assert_null(job);
	for (size_t i = 0; i < 2; i++) {
		assert_ok(vfb_memory_destroy(memories[i]));
		host_close(&hosts[i]);
	}
}

static void test_out_of_resources(void **state)
{
	struct vfb_job *job = (void *)1;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	fake_fail_call(host.fake, "eventfd", 0, EMFILE);
	assert_fails(vfb_memory_populate_start(&memory, 1, &job), -EMFILE, "eventfd");
	assert_null(job);
	assert_fails(vfb_memory_populate(memory), -EMFILE, "eventfd");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_nodes(void **state)
{
	static const unsigned int odd[] = {1, 3};
	struct fake_config config = {.nodes = 4, .cpus_per_node = 1, .absent_nodes = 1 << 2};
	struct vfb_memory_opts opts = {.size = sizeof(opts),
				       .bytes = 64 * MIB,
				       .page_size = VFB_PAGE_4K};
	static const enum vfb_numa_policy policies[] = {VFB_NUMA_DEFAULT, VFB_NUMA_BIND,
							VFB_NUMA_INTERLEAVE, VFB_NUMA_PREFERRED};
	struct host host;

	(void)state;
	host_open(&host, &config);
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		uint64_t bytes[5] = {99, 99, 99, 99, 99}, sum = 0;
		struct vfb_memory *memory;

		opts.policy = policies[i];
		opts.nodes = i ? odd : NULL;
		opts.node_count = (size_t[]){0, 2, 2, 1}[i];
		assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
		assert_int_equal(vfb_memory_nodes(memory, bytes, 5), 4);
		for (size_t node = 0; node < 5; node++)
			assert_int_equal(bytes[node], 0);
		assert_ok(vfb_memory_populate(memory));
		/* Room for fewer nodes, or none. */
		bytes[2] = 77;
		assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 4);
		assert_int_equal(bytes[2], 77);
		assert_int_equal(vfb_memory_nodes(memory, NULL, 0), 4);
		assert_int_equal(vfb_memory_nodes(memory, bytes, 5), 4);
		for (size_t node = 0; node < 5; node++)
			sum += bytes[node];
		assert_int_equal(sum, 64 * MIB);
		assert_int_equal(bytes[2] + bytes[4], 0);
		if (policies[i] == VFB_NUMA_BIND)
			assert_int_equal(bytes[1] + bytes[3], 64 * MIB);
		if (policies[i] == VFB_NUMA_INTERLEAVE)
			assert_true(bytes[1] == 32 * MIB && bytes[3] == 32 * MIB);
		if (policies[i] == VFB_NUMA_PREFERRED)
			assert_int_equal(bytes[1], 64 * MIB);
		assert_ok(vfb_memory_destroy(memory));
	}
	host_close(&host);
}

/* move_pages(2) or the list of nodes fails. */
static void test_nodes_fail(void **state)
{
	struct vfb_memory *memory;
	struct host host;
	uint64_t bytes;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	fake_fail_call(host.fake, "page_nodes", 1, ENOMEM);
	assert_fails(vfb_memory_nodes(memory, &bytes, 1), -ENOMEM, "move_pages");
	fake_fail_call(host.fake, "max_node", 1, ENOENT);
	assert_fails(vfb_memory_nodes(memory, &bytes, 1), -ENOENT, "NUMA nodes");
	assert_int_equal(vfb_memory_nodes(memory, &bytes, 1), 1);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* The preferred node is full: the rest goes elsewhere. */
static void test_preferred_full(void **state)
{
	static const unsigned int node = 1;
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = 64 * MIB,
		.page_size = VFB_PAGE_4K,
		.policy = VFB_NUMA_PREFERRED,
		.nodes = &node,
		.node_count = 1,
	};
	struct vfb_memory *memory;
	uint64_t bytes[2];
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2, .memory = {GIB, 16 * MIB}});
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
	assert_int_equal(bytes[1], 16 * MIB);
	assert_int_equal(bytes[0], 48 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Reserved in the pool when created, given back when destroyed. */
static void test_pool(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {8}});
	memory = make_memory(&host, 16 * MIB, VFB_PAGE_2M);
	assert_int_equal(stats_of(&host).reserved_2m, 8);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(fake_free_2m(host.fake, 0), 0);
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_2m(host.fake, 0), 8);
	assert_int_equal(stats_of(&host).reserved_2m, 0);
	host_close(&host);
}

/* A count below 0 of pages that are reserved for others. */
static void test_pool_count(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {8}});
	fake_add_file(host.fake, "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages",
		      "18446744073709551608\n");
	memory = make_memory(&host, 16 * MIB, VFB_PAGE_2M);
	assert_int_equal(stats_of(&host).reserved_2m, 8);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Base pages of 64 KiB, as some kernels of Arm and POWER have: "4k" means those. */
static void test_base_page(void **state)
{
	struct vfb_memory_opts opts = {.size = sizeof(opts), .page_size = VFB_PAGE_4K};
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_range range = {.iova = GIB};
	struct vfb_contiguity runs = VFB_CONTIGUITY_INIT;
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, &(struct fake_config){.base_page = 64 * KIB}, VFB_BACKEND_TYPE1, 1,
		   &device);
	opts.bytes = 36 * KIB;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "36 KiB", "64 KiB");
	opts.bytes = 4 * MIB;
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_bytes, 64 * KIB);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(populated_of(memory), 4 * MIB);
	range.memory = memory;
	range.bytes = 4 * KIB;
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "pages of 64 KiB");
	range.bytes = 4 * MIB;
	/* What the caller releases is found, page by page. */
	assert_int_equal(host.sys->madvise(host.sys, address_of(memory) + 64 * KIB, 64 * KIB,
					   MADV_DONTNEED),
			 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_mapped(&host, &range);
	assert_int_equal(fake_populated(host.fake, address_of(memory), 4 * MIB), 4 * MIB);
	assert_fails(vfb_memory_contiguity(memory, 4 * KIB, 64 * KIB, &runs), -EINVAL,
		     "not a page-aligned part");
	host_end(&host, device, memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_page),      cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_content),	       cmocka_unit_test(test_several),
		cmocka_unit_test(test_other_context),  cmocka_unit_test(test_out_of_resources),
		cmocka_unit_test(test_nodes),	       cmocka_unit_test(test_nodes_fail),
		cmocka_unit_test(test_preferred_full), cmocka_unit_test(test_pool),
		cmocka_unit_test(test_pool_count),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
