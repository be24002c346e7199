/* SPDX-License-Identifier: MIT */
/* Memory that cannot be had: each with its errno, and what to do about it; nothing is left. */
#include "host.h"

static struct vfb_memory_opts options(uint64_t bytes, enum vfb_page_size page_size)
{
	return (struct vfb_memory_opts){.size = sizeof(struct vfb_memory_opts),
					.bytes = bytes,
					.page_size = page_size};
}

#define assert_no_memory(host, opts, error, ...)                                                  \
	do {                                                                                      \
		struct vfb_memory *memory_ = (void *)1;                                           \
                                                                                                  \
		assert_fails(vfb_memory_create((host)->ctx, opts, &memory_), error, __VA_ARGS__); \
		assert_null(memory_);                                                             \
	} while (0)

/* Both kinds are refused. */
#define assert_no_kind(host, opts, error, ...)                      \
	do {                                                        \
		struct vfb_memory_opts both_ = opts;                \
                                                                    \
		assert_no_memory(host, &both_, error, __VA_ARGS__); \
		both_.kind = VFB_MEMORY_MEMFD;                      \
		assert_no_memory(host, &both_, error, __VA_ARGS__); \
		assert_int_equal(stats_of(host).vmas, 0);           \
		assert_int_equal(stats_of(host).reserved_2m, 0);    \
		assert_int_equal(stats_of(host).reserved_1g, 0);    \
	} while (0)

/* What AUTO takes instead. */
static void assert_automatic(struct host *host, uint64_t bytes, enum vfb_page_size expected)
{
	struct vfb_memory *memory = make_memory(host, bytes, VFB_PAGE_AUTO);

	assert_int_equal(memory_info_of(memory).page_size, expected);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
}

static void test_size(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {64}, .pages_1g = {4}});
	assert_no_memory(&host, NULL, -EINVAL, "0 bytes");
	assert_no_kind(&host, options(0, VFB_PAGE_4K), -EINVAL, "0 bytes");
	assert_no_kind(&host, options(4097, VFB_PAGE_4K), -EINVAL, "4097 bytes", "4 KiB");
	assert_no_kind(&host, options(4 * MIB + KIB, VFB_PAGE_AUTO), -EINVAL, "4097 KiB", "4 KiB");
	assert_no_kind(&host, options(6 * KIB, VFB_PAGE_THP), -EINVAL, "6 KiB", "4 KiB");
	assert_no_kind(&host, options(3 * MIB, VFB_PAGE_2M), -EINVAL, "3 MiB", "2 MiB");
	assert_no_kind(&host, options(1025 * MIB, VFB_PAGE_1G), -EINVAL, "1025 MiB", "1 GiB");
	assert_no_kind(&host, options(UINT64_C(1) << 63, VFB_PAGE_4K), -EINVAL, "addressed");
	assert_no_kind(&host, options(-4 * KIB, VFB_PAGE_4K), -EINVAL, "addressed");
	host_close(&host);
}

static void test_unknown_values(void **state)
{
	struct vfb_memory_opts opts = options(2 * MIB, VFB_PAGE_4K);
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_no_kind(&host, options(2 * MIB, 99), -EINVAL, "page size 99");
	assert_no_kind(&host, options(2 * MIB, -1), -EINVAL, "page size -1");
	opts.kind = 98;
	assert_no_memory(&host, &opts, -EINVAL, "98");
	opts.kind = VFB_MEMORY_ANONYMOUS;
	opts.policy = 97;
	assert_no_memory(&host, &opts, -EINVAL, "97");
	host_close(&host);
}

static void test_nodes(void **state)
{
	static const unsigned int nodes[] = {0, 1}, absent[] = {0, 2}, far[] = {4000000000u};
	struct vfb_memory_opts opts = options(2 * MIB, VFB_PAGE_4K);
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 4, .absent_nodes = 1 << 2});
	opts.policy = VFB_NUMA_BIND;
	assert_no_kind(&host, opts, -EINVAL, "needs nodes");
	opts.nodes = absent;
	opts.node_count = 2;
	assert_no_kind(&host, opts, -EINVAL, "NUMA node 2 is offline", "online are 0-1,3");
	opts.nodes = far;
	opts.node_count = 1;
	assert_no_kind(&host, opts, -EINVAL, "no NUMA node 4000000000");
	opts.nodes = nodes;
	opts.node_count = 2;
	opts.policy = VFB_NUMA_DEFAULT;
	assert_no_kind(&host, opts, -EINVAL, "no NUMA policy");
	host_close(&host);
	/* Memory was taken out of node 1, or never put in. */
	host_open(&host, &(struct fake_config){.nodes = 2, .memory = {GIB, 1}});
	opts.policy = VFB_NUMA_INTERLEAVE;
	opts.nodes = (unsigned int[]){0, 1};
	assert_no_kind(&host, opts, -EINVAL, "node 1 has no memory", "nodes 0 have");
	host_close(&host);
}

/* mbind(2) refuses, for a cpuset or a node without memory. */
static void test_bind_fails(void **state)
{
	static const unsigned int node;
	struct vfb_memory_opts opts = options(2 * MIB, VFB_PAGE_4K);
	struct host host;

	(void)state;
	host_open(&host, NULL);
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	fake_fail_call(host.fake, "mbind", 0, EINVAL);
	assert_no_kind(&host, opts, -EINVAL, "NUMA policy", "for node 0 (mbind)");
	fake_add_file(host.fake, "/proc/self/status", "Mems_allowed_list:\t1\n");
	assert_no_kind(&host, opts, -EINVAL, "NUMA policy", "cpuset", "allows nodes 1 only");
	host_close(&host);
}

static void test_pool_too_small(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {10}, .pages_1g = {1}});
	assert_no_kind(&host, options(22 * MIB, VFB_PAGE_2M), -ENOMEM, "22 MiB",
		       "11 hugepages of 2 MiB", "10 are free",
		       "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	assert_no_kind(&host, options(2 * GIB, VFB_PAGE_1G), -ENOMEM, "2 hugepages of 1 GiB",
		       "1 are free", "hugepages-1048576kB");
	/* What is reserved is not free, though not populated. */
	memory = make_memory(&host, 12 * MIB, VFB_PAGE_2M);
	fake_fail_none(host.fake);
	assert_int_equal(stats_of(&host).reserved_2m, 6);
	{
		struct vfb_memory_opts opts = options(10 * MIB, VFB_PAGE_2M);

		assert_no_memory(&host, &opts, -ENOMEM, "5 hugepages", "4 are free");
	}
	assert_automatic(&host, 10 * MIB, VFB_PAGE_THP);
	assert_automatic(&host, 8 * MIB, VFB_PAGE_2M);
	assert_automatic(&host, GIB, VFB_PAGE_1G);
	assert_automatic(&host, 2 * GIB, VFB_PAGE_THP);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_memory_destroy(make_memory(&host, 20 * MIB, VFB_PAGE_2M)));
	host_close(&host);
}

/* Enough in the machine, too few on the node. */
static void test_bound_pool_too_small(void **state)
{
	static const unsigned int node = 1;
	struct vfb_memory_opts opts = options(12 * MIB, VFB_PAGE_2M);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2, .pages_2m = {100, 5}});
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	assert_no_kind(&host, opts, -ENOMEM, "6 hugepages", "5 are free on its nodes",
		       "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
	opts.page_size = VFB_PAGE_AUTO;
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_size, VFB_PAGE_THP);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_page_size_absent(void **state)
{
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.no_1g = true, .no_2m = true});
	assert_no_kind(&host, options(2 * GIB, VFB_PAGE_1G), -ENOTSUP, "1 GiB");
	assert_no_kind(&host, options(2 * GIB, VFB_PAGE_2M), -ENOTSUP, "2 MiB");
	assert_automatic(&host, GIB, VFB_PAGE_THP);
	host_close(&host);
}

static void test_no_thp(void **state)
{
	static const enum fake_thp modes[] = {FAKE_THP_NEVER, FAKE_THP_ABSENT};
	static const char *const words[][2] = {
		{"switched off", "write madvise to /sys/kernel/mm/transparent_hugepage/enabled"},
		{"no transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled"},
	};
	struct vfb_memory_opts opts = options(64 * MIB, VFB_PAGE_THP);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		host_open(&host, &(struct fake_config){.thp = modes[i]});
		assert_no_memory(&host, &opts, -ENOTSUP, words[i][0], words[i][1]);
		assert_automatic(&host, 64 * MIB, VFB_PAGE_4K);
		host_close(&host);
	}
	/* Memory of a memfd has a switch of its own. */
	host_open(&host, NULL);
	opts.kind = VFB_MEMORY_MEMFD;
	assert_no_memory(&host, &opts, -ENOTSUP, "shmem_enabled", "advise");
	host_close(&host);
	/* And one for each size. */
	host_open(&host, &(struct fake_config){.shmem_64k = true});
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Populated by touching its pages. */
static void test_no_populate(void **state)
{
	struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, &(struct fake_config){.no_populate = true}, VFB_BACKEND_TYPE1, 1,
		   &device);
	range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
	/* A page of which cannot be had, and another time. */
	fake_fail_call(host.fake, "touch", 300, 0);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "cannot populate",
		     "possible causes");
	assert_int_equal(stats_of(&host).mappings, 0);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_int_equal(stats_of(&host).populate_calls, 0);
	assert_int_equal(populated_of(range.memory), range.bytes);
	assert_mapped(&host, &range);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	vfb_device_close(device);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

/* The node has too little: nothing is populated, since the kernel would kill. */
static void test_node_full(void **state)
{
	static const unsigned int node = 1;
	struct vfb_memory_opts opts = options(128 * MIB, VFB_PAGE_4K);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 2, .memory = {GIB, 64 * MIB}});
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_fails(vfb_memory_populate(memory), -ENOMEM, "128 MiB", "node 1 has 64 MiB");
	assert_true(populated_of(memory) <= 64 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_memory(host.fake, 1), 64 * MIB);
	host_close(&host);
}

/* Pages of a size that cannot be used after all, and that cannot be unmapped: nothing is lost. */
static void test_not_unmapped(void **state)
{
	static const unsigned int node = 0;
	struct vfb_memory_opts opts = options(GIB, VFB_PAGE_AUTO);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_1g = {1}});
	opts.kind = VFB_MEMORY_MEMFD;
	opts.policy = VFB_NUMA_BIND;
	opts.nodes = &node;
	opts.node_count = 1;
	fake_fail_call(host.fake, "mbind", 1, ENOMEM);
	fake_fail_call(host.fake, "munmap", 1, ENOMEM);
	assert_int_equal(vfb_memory_create(host.ctx, &opts, &memory), -ENOMEM);
	host_close(&host);
}

/* The pool has the pages, but the cgroup may not use as many. */
static void test_cgroup(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {32}, .hugetlb_limit_2m = 16 * MIB});
	memory = make_memory(&host, 32 * MIB, VFB_PAGE_2M);
	assert_fails(vfb_memory_populate(memory), -ENOMEM, "2 MiB", "32 MiB",
		     "/sys/fs/cgroup/vm.slice/hugetlb.2MB.max", "allows 16 MiB");
	assert_true(populated_of(memory) <= 16 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_2m(host.fake, 0), 32);
	host_close(&host);
}

static void test_poisoned_page(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
	fake_poison(host.fake, address_of(memory) + 33 * MIB);
	assert_fails(vfb_memory_populate(memory), -EHWPOISON, "4 KiB", "memory error");
	assert_true(populated_of(memory) < 64 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_damaged_page(void **state)
{
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 64 * MIB, VFB_PAGE_THP);
	fake_fail_call(host.fake, "madvise", 3, EHWPOISON);
	assert_fails(vfb_memory_populate(memory), -EHWPOISON, "memory error", "kernel log");
	/* A signal, or a page that was in the way for a moment: tried again. */
	fake_fail_none(host.fake);
	fake_fail_call(host.fake, "madvise", 1, EINTR);
	fake_fail_call(host.fake, "madvise", 2, EAGAIN);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(populated_of(memory), 64 * MIB);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_unknown_values),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_bind_fails),
		cmocka_unit_test(test_pool_too_small),
		cmocka_unit_test(test_bound_pool_too_small),
		cmocka_unit_test(test_page_size_absent),
		cmocka_unit_test(test_no_thp),
		cmocka_unit_test(test_no_populate),
		cmocka_unit_test(test_node_full),
		cmocka_unit_test(test_cgroup),
		cmocka_unit_test(test_not_unmapped),
		cmocka_unit_test(test_poisoned_page),
		cmocka_unit_test(test_damaged_page),
	};

	return cmocka_run_group_tests_name("refused memory", tests, NULL, NULL);
}
