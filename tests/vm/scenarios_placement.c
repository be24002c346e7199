/* SPDX-License-Identifier: MIT */
/* Where memory lies, what keeps it from being there, and pools that grow for it. */
#include <sys/wait.h>
#include <unistd.h>

#include <inttypes.h>

#include "scenario.h"

#define BYTES (16 * MIB)

static const unsigned int nodes[] = {0, 1};

static struct vfb_memory *create(struct fixture *f, const struct vfb_memory_opts *opts)
{
	struct vfb_memory *memory;

	assert_ok(vfb_memory_create(f->ctx, opts, &memory));
	return memory;
}

static struct vfb_memory_opts placed(uint64_t bytes, enum vfb_page_size page_size,
				     enum vfb_numa_policy policy)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

	opts.bytes = bytes;
	opts.page_size = page_size;
	opts.policy = policy;
	opts.nodes = nodes;
	opts.node_count = 2;
	return opts;
}

static void assert_nodes(struct vfb_memory *memory, uint64_t node0, uint64_t node1)
{
	struct vfb_placement placement = VFB_PLACEMENT_INIT;
	uint64_t bytes[2];

	assert_int_equal(vfb_memory_nodes(memory, bytes, 2), 2);
	assert_int_equal(bytes[0], node0);
	assert_int_equal(bytes[1], node1);
	assert_ok(vfb_memory_placement(memory, &placement));
	assert_int_equal(placement.bytes, node0 + node1);
	assert_int_equal(placement.misplaced_bytes, 0);
}

static void split(struct fixture *f)
{
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP, VFB_PAGE_2M};
	static const uint64_t parts[] = {BYTES / 4, 3 * BYTES / 4};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct vfb_memory_opts opts = placed(BYTES, sizes[i], VFB_NUMA_SPLIT);
		struct vfb_memory *memory;

		opts.node_bytes = parts;
		memory = create(f, &opts);
		assert_ok(vfb_memory_populate(memory));
		assert_nodes(memory, parts[0], parts[1]);
		assert_ok(vfb_memory_destroy(memory));
	}
}

static void prefer_both(struct fixture *f)
{
	struct vfb_memory_opts opts = placed(BYTES, VFB_PAGE_4K, VFB_NUMA_PREFERRED);
	struct vfb_placement placement = VFB_PLACEMENT_INIT;
	struct vfb_memory *memory = create(f, &opts);

	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_placement(memory, &placement));
	assert_int_equal(placement.bytes, BYTES);
	assert_int_equal(placement.misplaced_bytes, 0);
	assert_ok(vfb_memory_destroy(memory));
}

/* By 8 pages, on the node that is asked for, and back again. */
static void grow(struct fixture *f)
{
	uint64_t free = machine_free_2m(1), pool[] = {machine_pool_2m(0), machine_pool_2m(1)};
	struct vfb_memory_opts opts = placed((free + 8) * 2 * MIB, VFB_PAGE_2M, VFB_NUMA_BIND);
	struct vfb_memory *memory;

	opts.nodes = &nodes[1];
	opts.node_count = 1;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOMEM);
	opts.flags = VFB_MEMORY_GROW_POOL;
	memory = create(f, &opts);
	assert_int_equal(machine_pool_2m(0), pool[0]);
	assert_int_equal(machine_pool_2m(1), pool[1] + 8);
	assert_ok(vfb_memory_populate(memory));
	assert_nodes(memory, 0, opts.bytes);
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(machine_pool_2m(1), pool[1]);
	/* More than there is memory: nothing of it stays. */
	opts.bytes = UINT64_C(1) << 40;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOMEM);
	assert_says("could only grow by");
	assert_int_equal(machine_pool_2m(0), pool[0]);
	assert_int_equal(machine_pool_2m(1), pool[1]);
}

static void grow_and_shrink(const struct vfb_memory_opts *opts)
{
	struct vfb_ctx *ctx;

	assert_ok(machine_ctx_create(NULL, &ctx));
	for (int i = 0; i < 20; i++) {
		struct vfb_memory *memory;

		/* Others may leave too little room. */
		if (!vfb_memory_create(ctx, opts, &memory))
			assert_ok(vfb_memory_destroy(memory));
	}
	assert_ok(vfb_ctx_destroy(ctx));
}

/* Four processes at once: the administrator's pages are still there afterwards. */
static void grow_at_once(struct fixture *f)
{
	uint64_t pool[] = {machine_pool_2m(0), machine_pool_2m(1)};
	struct vfb_memory_opts opts = placed((pool[0] + pool[1] + 8) * 2 * MIB, VFB_PAGE_2M,
					     VFB_NUMA_DEFAULT);
	pid_t children[4];

	opts.nodes = NULL;
	opts.node_count = 0;
	opts.flags = VFB_MEMORY_GROW_POOL;
	for (size_t i = 0; i < COUNT(children); i++) {
		children[i] = f->machine->has_processes ? fork() : 0;
		if (!children[i])
			grow_and_shrink(&opts);
		if (!children[i] && f->machine->has_processes)
			_exit(0);
	}
	for (size_t i = 0; i < COUNT(children) && f->machine->has_processes; i++) {
		int status = 1;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(machine_pool_2m(0) + machine_pool_2m(1), pool[0] + pool[1]);
}

static void grow_without_root(struct fixture *f)
{
	struct vfb_memory_opts opts = placed(UINT64_C(1) << 40, VFB_PAGE_2M, VFB_NUMA_BIND);
	struct vfb_memory *memory;

	opts.flags = VFB_MEMORY_GROW_POOL;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -EACCES);
	assert_says("root");
}

static void cgroup_of_hugepages(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_2M);

	assert_error(vfb_memory_populate(memory), -ENOMEM);
	assert_says("hugetlb.2MB.max allows 8 MiB");
	assert_ok(vfb_memory_destroy(memory));
}

/* Base pages beyond the cgroup's limit: the kernel would kill the process. */
static void cgroup_of_memory(struct fixture *f)
{
	static const enum vfb_memory_kind kinds[] = {VFB_MEMORY_ANONYMOUS, VFB_MEMORY_MEMFD};
	static const enum vfb_page_size sizes[] = {VFB_PAGE_4K, VFB_PAGE_THP};
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	for (size_t i = 0; i < 4; i++) {
		struct vfb_memory *memory;

		opts.bytes = 96 * MIB;
		opts.kind = kinds[i % 2];
		opts.page_size = sizes[i / 2];
		if (opts.page_size == VFB_PAGE_THP && opts.kind == VFB_MEMORY_MEMFD)
			continue;
		memory = create(f, &opts);
		assert_error(vfb_memory_populate(memory), -ENOMEM);
		assert_says("memory.max allows 64 MiB");
		assert_error(map_one(space, memory, 96 * MIB, scenario_iova), -ENOMEM);
		assert_says("memory.max allows 64 MiB");
		/* Half of it fits, twice does not need more. */
		assert_ok(map_one(space, memory, 32 * MIB, scenario_iova));
		assert_ok(map_one(space, memory, 32 * MIB, scenario_iova + GIB));
		assert_ok(vfb_space_unmap_all(space));
		assert_ok(vfb_memory_destroy(memory));
		await_unpinned(f);
	}
	end_space(space, device);
}

/* Beyond it the kernel would delay each step by seconds. */
static void cgroup_soft_limit(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 96 * MIB, VFB_PAGE_4K);

	assert_error(vfb_memory_populate(memory), -ENOMEM);
	assert_says("memory.high allows 64 MiB");
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(f, 32 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
}

/* The pool has the pages, but mmap() may not reserve as many: smaller ones are chosen. */
static void cgroup_of_reservations(struct fixture *f)
{
	struct vfb_memory_opts opts = placed(BYTES, VFB_PAGE_2M, VFB_NUMA_DEFAULT);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory;

	opts.nodes = NULL;
	opts.node_count = 0;
	assert_error(vfb_memory_create(f->ctx, &opts, &memory), -ENOMEM);
	assert_says("hugetlb.2MB.rsvd.max allows 8 MiB");
	opts.page_size = VFB_PAGE_AUTO;
	memory = create(f, &opts);
	assert_ok(vfb_memory_info(memory, &info));
	assert_true(info.page_size < VFB_PAGE_2M);
	assert_ok(vfb_memory_destroy(memory));
	opts.page_size = VFB_PAGE_2M;
	opts.bytes = 8 * MIB;
	memory = create(f, &opts);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
}

/* The host has the memory, but not on the node that the process may use. */
static void cpuset_of_one_node(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 6 * GIB, VFB_PAGE_4K);

	assert_error(vfb_memory_populate(memory), -ENOMEM);
	assert_says("what cpuset.mems allows has");
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(f, BYTES, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	assert_nodes(memory, BYTES, 0);
	assert_ok(vfb_memory_destroy(memory));
}

/* Several memories, each of which fits, but not all of them. */
static void cgroup_used_up(struct fixture *f)
{
	struct vfb_memory *memory[4];
	int error = 0;

	for (size_t i = 0; i < COUNT(memory); i++) {
		memory[i] = make_memory(f, BYTES, VFB_PAGE_4K);
		error = vfb_memory_populate(memory[i]);
		assert_true(!error || (error == -ENOMEM && i));
	}
	assert_int_equal(error, -ENOMEM);
	assert_says("memory.max");
	for (size_t i = 0; i < COUNT(memory); i++)
		assert_ok(vfb_memory_destroy(memory[i]));
}

static void cgroup_of_cpus(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);

	assert_int_equal(machine_workers(), 1);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
}

static void poisoned(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_4K);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	char text[64];

	assert_ok(vfb_memory_info(memory, &info));
	machine_poison((char *)info.address + 5 * MIB);
	assert_error(vfb_memory_populate(memory), -EHWPOISON);
	snprintf(text, sizeof(text), " %" PRIu64 " KiB has a memory error", PAGE / KIB);
	assert_says(text);
	assert_ok(vfb_memory_destroy(memory));
}

/* Anybody may know whether pages are huge. */
static void huge(struct fixture *f)
{
	struct vfb_contiguity contiguity = VFB_CONTIGUITY_INIT;
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_2M);
	uint64_t bytes;

	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_huge(memory, &bytes));
	assert_int_equal(bytes, BYTES);
	assert_error(vfb_memory_contiguity(memory, 0, BYTES, &contiguity), -EPERM);
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(f, BYTES, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_huge(memory, &bytes));
	assert_int_equal(bytes, 0);
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(f, BYTES, VFB_PAGE_THP);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_huge(memory, &bytes));
	/* As many as the kernel finds. */
	assert_int_equal(bytes % (2 * MIB), 0);
	assert_in_range(bytes, 2 * MIB, BYTES);
	assert_ok(vfb_memory_destroy(memory));
}

static void contiguous(struct fixture *f)
{
	struct vfb_contiguity contiguity = VFB_CONTIGUITY_INIT;
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_2M);
	uint64_t runs = 0;

	assert_ok(vfb_memory_contiguity(memory, 0, BYTES, &contiguity));
	assert_int_equal(contiguity.bytes, 0);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_contiguity(memory, 0, BYTES, &contiguity));
	assert_int_equal(contiguity.bytes, BYTES);
	assert_in_range(contiguity.runs, 1, BYTES / (2 * MIB));
	assert_in_range(contiguity.longest_bytes, 2 * MIB, BYTES);
	for (size_t i = 0; i < VFB_RUNS_LOG2; i++)
		runs += contiguity.runs_by_log2[i];
	assert_int_equal(runs, contiguity.runs);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario placement_scenarios[] = {
	{.name = "memory split over nodes as a guest's", .no_space = true, .run = split},
	{.name = "memory that prefers two nodes", .no_space = true, .run = prefer_both},
	{.name = "a pool that grows for a memory", .no_space = true, .run = grow},
	{.name = "a pool that grows for several processes", .no_space = true, .run = grow_at_once},
	{.name = "a pool that only root may change",
	 .no_space = true,
	 .run = grow_without_root,
	 .limits.user = USER_MAY_NOTHING},
	{.name = "a cgroup's limit on hugepages",
	 .no_space = true,
	 .run = cgroup_of_hugepages,
	 .limits.hugetlb_2m = 8 * MIB},
	{.name = "a cgroup's limit on memory",
	 .run = cgroup_of_memory,
	 .limits.memory_max = 64 * MIB},
	{.name = "a cgroup's memory used up",
	 .no_space = true,
	 .run = cgroup_used_up,
	 .limits.memory_max = 56 * MIB},
	{.name = "a cgroup's soft limit on memory",
	 .no_space = true,
	 .run = cgroup_soft_limit,
	 .limits.memory_high = 64 * MIB},
	{.name = "a cgroup's limit on reserved hugepages",
	 .no_space = true,
	 .run = cgroup_of_reservations,
	 .limits.hugetlb_reserve_2m = 8 * MIB},
	{.name = "a cgroup that allows one node",
	 .no_space = true,
	 .run = cpuset_of_one_node,
	 .limits.one_node = true},
	{.name = "a cgroup's quota of CPU time",
	 .no_space = true,
	 .run = cgroup_of_cpus,
	 .limits.cpu_max = "50000 100000"},
	{.name = "a page with a memory error", .no_space = true, .run = poisoned},
	{.name = "pages that are huge",
	 .needs = MACHINE_THP,
	 .no_space = true,
	 .run = huge,
	 .limits.user = USER_MAY_NOTHING},
	{.name = "pages that are contiguous", .no_space = true, .run = contiguous},
	{0},
};
