/* SPDX-License-Identifier: MIT */
/* Where memory lies: on which nodes, in which pages, in how many pieces. */
#include "host.h"

static const unsigned int nodes[] = {0, 1, 2};

static struct vfb_memory_opts placed(uint64_t bytes, enum vfb_page_size page_size,
				     enum vfb_numa_policy policy, size_t count)
{
	return (struct vfb_memory_opts){
		.size = sizeof(struct vfb_memory_opts),
		.bytes = bytes,
		.page_size = page_size,
		.policy = policy,
		.nodes = count ? nodes : NULL,
		.node_count = count,
	};
}

static struct vfb_memory *create(struct host *host, const struct vfb_memory_opts *opts)
{
	struct vfb_memory *memory;

	assert_ok(vfb_memory_create(host->ctx, opts, &memory));
	return memory;
}

static struct vfb_placement placement_of(struct vfb_memory *memory)
{
	struct vfb_placement placement = VFB_PLACEMENT_INIT;

	assert_ok(vfb_memory_placement(memory, &placement));
	return placement;
}

static struct vfb_contiguity contiguity_of(struct vfb_memory *memory, uint64_t offset,
					   uint64_t bytes)
{
	struct vfb_contiguity contiguity = VFB_CONTIGUITY_INIT;

	assert_ok(vfb_memory_contiguity(memory, offset, bytes, &contiguity));
	return contiguity;
}

static void assert_nodes(struct vfb_memory *memory, uint64_t node0, uint64_t node1, uint64_t node2)
{
	uint64_t bytes[3];

	assert_int_equal(vfb_memory_nodes(memory, bytes, 3), 3);
	assert_int_equal(bytes[0], node0);
	assert_int_equal(bytes[1], node1);
	assert_int_equal(bytes[2], node2);
}

/* Each node's part is on it, and populated by its own workers. */
static void test_split(void **state)
{
	struct vfb_memory_opts opts = placed(256 * MIB, VFB_PAGE_4K, VFB_NUMA_SPLIT, 3);
	struct vfb_memory *memory;
	struct host host;
	char *address;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 3});
	opts.node_bytes = (uint64_t[]){64 * MIB, 160 * MIB, 32 * MIB};
	memory = create(&host, &opts);
	assert_ok(vfb_memory_populate(memory));
	assert_nodes(memory, 64 * MIB, 160 * MIB, 32 * MIB);
	address = address_of(memory);
	assert_int_equal(fake_page_node(host.fake, address + 64 * MIB - 1), 0);
	assert_int_equal(fake_page_node(host.fake, address + 64 * MIB), 1);
	assert_int_equal(fake_page_node(host.fake, address + 224 * MIB), 2);
	assert_int_equal(placement_of(memory).bytes, 256 * MIB);
	assert_int_equal(placement_of(memory).misplaced_bytes, 0);
	for (unsigned int node = 0; node < 3; node++)
		assert_int_equal(fake_zeroed_by(host.fake, node, node), opts.node_bytes[node]);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void assert_refused(struct host *host, struct vfb_memory_opts opts, const char *text)
{
	struct vfb_memory *memory;

	assert_fails(vfb_memory_create(host->ctx, &opts, &memory), -EINVAL, text);
}

static void test_split_refused(void **state)
{
	struct vfb_memory_opts opts = placed(256 * MIB, VFB_PAGE_4K, VFB_NUMA_SPLIT, 2);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 3, .pages_2m = {200, 200}});
	assert_refused(&host, opts, "needs node_bytes");
	opts.node_bytes = (uint64_t[]){256 * MIB, 0};
	assert_refused(&host, opts, "empty");
	opts.node_bytes = (uint64_t[]){255 * MIB + 1, MIB - 1};
	assert_refused(&host, opts, "multiple of the page size");
	opts.node_bytes = (uint64_t[]){128 * MIB, 64 * MIB};
	assert_refused(&host, opts, "do not add up to the size, 256 MiB");
	opts.node_bytes = (uint64_t[]){UINT64_MAX / 4096 * 4096, 257 * MIB};
	assert_refused(&host, opts, "do not add up");
	opts.node_bytes = (uint64_t[]){127 * MIB, 129 * MIB};
	opts.page_size = VFB_PAGE_2M;
	assert_refused(&host, opts, "127 MiB on node 0 does not end with a page of 2 MiB");
	opts.page_size = VFB_PAGE_AUTO;
	memory = create(&host, &opts);
	assert_non_null(
		strstr(memory_info_of(memory).fallback, "2m: the part of 127 MiB on node 0"));
	assert_ok(vfb_memory_destroy(memory));
	/* One node has too few hugepages, though both together have enough. */
	opts.page_size = VFB_PAGE_2M;
	opts.bytes = 420 * MIB;
	opts.node_bytes = (uint64_t[]){408 * MIB, 12 * MIB};
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOMEM,
		     "need 204 hugepages of 2 MiB, 200 are free on its nodes", "node0");
	opts.policy = VFB_NUMA_BIND;
	assert_refused(&host, opts, "VFB_NUMA_SPLIT only");
	host_close(&host);
}

/* Pages that do not fit on the preferred nodes go elsewhere, and are reported. */
static void test_preferred_many(void **state)
{
	struct vfb_memory_opts opts = placed(64 * MIB, VFB_PAGE_4K, VFB_NUMA_PREFERRED, 2);
	struct vfb_placement placement;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.nodes = 3, .memory = {16 * MIB, 32 * MIB, GIB}});
	memory = create(&host, &opts);
	assert_int_equal(placement_of(memory).bytes, 0);
	assert_ok(vfb_memory_populate(memory));
	assert_nodes(memory, 16 * MIB, 32 * MIB, 16 * MIB);
	placement = placement_of(memory);
	assert_int_equal(placement.bytes, 64 * MIB);
	assert_int_equal(placement.misplaced_bytes, 16 * MIB);
	assert_int_equal(fake_page_node(host.fake, address_of(memory) + placement.first_misplaced),
			 2);
	fake_fail_call(host.fake, "page_nodes", 1, ENOMEM);
	assert_fails(vfb_memory_placement(memory, &placement), -ENOMEM, "move_pages");
	assert_ok(vfb_memory_destroy(memory));
	/* Linux before 5.15. */
	fake_fail_call(host.fake, "mbind", 0, EINVAL);
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOTSUP, "5.15", "prefer one");
	fake_fail_none(host.fake);
	/* Nothing is wrong where nothing was asked for. */
	opts = placed(64 * MIB, VFB_PAGE_4K, VFB_NUMA_DEFAULT, 0);
	memory = create(&host, &opts);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(placement_of(memory).misplaced_bytes, 0);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Pages of 1 GiB, and of 2 MiB after them. */
static void test_mixed(void **state)
{
	struct vfb_memory_opts opts = placed(2 * GIB + 64 * MIB, VFB_PAGE_MIXED, 0, 0);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory;
	struct vfb_device *device;
	struct vfb_range range;
	struct host host;

	(void)state;
	host_start(&host, &(struct fake_config){.pages_1g = {2}, .pages_2m = {32}},
		   VFB_BACKEND_IOMMUFD, 1, &device);
	memory = create(&host, &opts);
	assert_int_equal(stats_of(&host).reserved_1g, 2);
	assert_int_equal(stats_of(&host).reserved_2m, 32);
	range = (struct vfb_range){.memory = memory, .bytes = opts.bytes, .iova = 4 * GIB};
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_mapped(&host, &range);
	assert_int_equal(fake_free_1g(host.fake, 0), 0);
	assert_int_equal(fake_free_2m(host.fake, 0), 0);
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_size, VFB_PAGE_MIXED);
	assert_int_equal(info.page_bytes, 2 * MIB);
	assert_int_equal(info.populated_bytes, opts.bytes);
	assert_int_equal((uintptr_t)info.address % GIB, 0);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_2m(host.fake, 0), 32);

	opts.page_size = VFB_PAGE_AUTO;
	memory = create(&host, &opts);
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_size, VFB_PAGE_MIXED);
	assert_string_equal(info.fallback,
			    "1g: a size of 2112 MiB is not a multiple of the page size, 1 GiB");
	assert_ok(vfb_memory_destroy(memory));

	opts.page_size = VFB_PAGE_MIXED;
	opts.bytes = 64 * MIB;
	assert_refused(&host, opts, "too small to be mixed");
	opts.bytes = GIB;
	opts.kind = VFB_MEMORY_MEMFD;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOTSUP, "one size");
	vfb_device_close(device);
	host_close(&host);
}

static void test_fallback(void **state)
{
	struct vfb_memory_opts opts = placed(2 * GIB, VFB_PAGE_AUTO, 0, 0);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {9}, .thp = FAKE_THP_NEVER});
	memory = create(&host, &opts);
	assert_string_equal(
		memory_info_of(memory).fallback,
		"1g: 2 GiB need 2 hugepages of 1 GiB, 0 are free: raise /sys/kernel/mm/hugepages/"
		"hugepages-1048576kB/nr_hugepages or use smaller pages\n"
		"2m: 2 GiB need 1024 hugepages of 2 MiB, 9 are free: raise /sys/kernel/mm/"
		"hugepages/hugepages-2048kB/nr_hugepages or use smaller pages\n"
		"thp: transparent huge pages are switched off: write madvise to /sys/kernel/mm/"
		"transparent_hugepage/enabled");
	assert_ok(vfb_memory_destroy(memory));
	opts.page_size = VFB_PAGE_4K;
	memory = create(&host, &opts);
	assert_string_equal(memory_info_of(memory).fallback, "");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static uint64_t huge_of(struct vfb_memory *memory)
{
	uint64_t bytes;

	assert_ok(vfb_memory_huge(memory, &bytes));
	return bytes;
}

static void test_huge(void **state)
{
	struct vfb_memory *memory[3];
	struct host host;
	uint64_t bytes;

	(void)state;
	host_open(&host, &(struct fake_config){.pages_2m = {8}});
	memory[0] = make_memory(&host, 9 * MIB, VFB_PAGE_THP);
	memory[1] = make_memory(&host, 8 * MIB, VFB_PAGE_4K);
	memory[2] = make_memory(&host, 16 * MIB, VFB_PAGE_2M);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(huge_of(memory[i]), 0);
		assert_ok(vfb_memory_populate(memory[i]));
	}
	assert_int_equal(huge_of(memory[0]), 8 * MIB);
	assert_int_equal(huge_of(memory[1]), 0);
	assert_int_equal(huge_of(memory[2]), 16 * MIB);
	fake_fail_call(host.fake, "open:/proc/self/smaps", 1, EMFILE);
	assert_fails(vfb_memory_huge(memory[0], &bytes), -EMFILE, "smaps");
	fake_fail_call(host.fake, "pread:/proc/self/smaps", 1, EIO);
	assert_fails(vfb_memory_huge(memory[0], &bytes), -EIO, "smaps");
	for (int i = 0; i < 3; i++)
		assert_ok(vfb_memory_destroy(memory[i]));
	host_close(&host);
}

static void test_contiguity(void **state)
{
	struct vfb_contiguity contiguity = VFB_CONTIGUITY_INIT;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
	assert_int_equal(contiguity_of(memory, 0, 64 * MIB).runs, 0);
	assert_ok(vfb_memory_populate(memory));
	contiguity = contiguity_of(memory, 0, 64 * MIB);
	assert_int_equal(contiguity.bytes, 64 * MIB);
	assert_int_equal(contiguity.runs, 1);
	assert_int_equal(contiguity.longest_bytes, 64 * MIB);
	assert_int_equal(contiguity.runs_by_log2[14], 1);
	assert_int_equal(contiguity.runs_by_log10[4], 1);
	assert_int_equal(contiguity_of(memory, 4 * MIB, 40 * KIB).runs_by_log10[1], 1);
	assert_int_equal(contiguity_of(memory, MIB, 0).runs, 0);
	assert_fails(vfb_memory_contiguity(memory, 1, 4 * KIB, &contiguity), -EINVAL,
		     "page-aligned part");
	assert_fails(vfb_memory_contiguity(memory, MIB, 64 * MIB, &contiguity), -EINVAL, "64 MiB");
	assert_fails(vfb_memory_contiguity(memory, 65 * MIB, 0, &contiguity), -EINVAL, "65 MiB");
	fake_fail_call(host.fake, "open:/proc/self/pagemap", 1, EACCES);
	assert_fails(vfb_memory_contiguity(memory, 0, MIB, &contiguity), -EPERM, "CAP_SYS_ADMIN");
	fake_fail_call(host.fake, "open:/proc/self/pagemap", 1, EMFILE);
	assert_fails(vfb_memory_contiguity(memory, 0, MIB, &contiguity), -EMFILE, "pagemap");
	fake_fail_call(host.fake, "pread:/proc/self/pagemap", 1, EIO);
	assert_fails(vfb_memory_contiguity(memory, 0, MIB, &contiguity), -EIO, "pagemap");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);

	/* In runs of 100 pages, but for those that either end cuts, wherever that is. */
	host_open(&host, &(struct fake_config){.run_pages = 100});
	memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	contiguity = contiguity_of(memory, 0, 64 * MIB);
	assert_in_range(contiguity.runs, 164, 165);
	assert_int_equal(contiguity.longest_bytes, 400 * KIB);
	assert_in_range(contiguity.runs_by_log2[6], 162, 165);
	assert_in_range(contiguity.runs_by_log10[2], 162, 163);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);

	host_open(&host, &(struct fake_config){.no_sys_admin = true});
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	assert_fails(vfb_memory_contiguity(memory, 0, 2 * MIB, &contiguity), -EPERM,
		     "CAP_SYS_ADMIN");
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),	       cmocka_unit_test(test_split_refused),
		cmocka_unit_test(test_preferred_many), cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_fallback),       cmocka_unit_test(test_huge),
		cmocka_unit_test(test_contiguity),
	};

	return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
