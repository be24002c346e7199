/* SPDX-License-Identifier: MIT */
/* Memory of the caller's that its NUMA policy binds to a node: workers of the node populate it. */
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "host.h"

#define BYTES (64 * MIB)
#define SMALL (2 * MIB)

static void populate(struct host *host, struct vfb_memory *memory)
{
	(void)host;
	assert_ok(vfb_memory_populate(memory));
}

static void map_part(struct host *host, struct vfb_memory *memory, uint64_t bytes)
{
	struct vfb_range range = {.memory = memory, .bytes = bytes, .iova = GIB};

	assert_ok(vfb_space_map(host->space, &range, 1, NULL));
	assert_ok(vfb_space_unmap(host->space, &range, 1, NULL));
}

static void map(struct host *host, struct vfb_memory *memory)
{
	map_part(host, memory, BYTES);
}

/* So little that the calling thread would map it, if it need not ask which node it belongs to. */
static void map_little(struct host *host, struct vfb_memory *memory)
{
	map_part(host, memory, SMALL);
}

static void restore_part(struct vfb_memory *memory, uint64_t bytes)
{
	struct vfb_memory_range range = {.bytes = bytes};

	assert_ok(vfb_memory_discard(memory, &range, 1, NULL));
	assert_ok(vfb_memory_restore(memory, &range, 1, NULL));
}

static void restore(struct host *host, struct vfb_memory *memory)
{
	(void)host;
	restore_part(memory, BYTES);
}

static void restore_little(struct host *host, struct vfb_memory *memory)
{
	(void)host;
	restore_part(memory, SMALL);
}

static const struct {
	void (*run)(struct host *host, struct vfb_memory *memory);
	uint64_t bytes;
} ways[] = {
	{populate, BYTES},	 {map, BYTES}, {map_little, SMALL}, {restore, BYTES},
	{restore_little, SMALL},
};

static void populate_bound(struct host *host, size_t way, unsigned int node, bool fails)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	uint64_t before = fake_zeroed_by(host->fake, !node, node);
	uint64_t own = fake_zeroed_by(host->fake, node, node);
	struct vfb_memory *memory;

	opts.bytes = BYTES;
	assert_ok(host->sys->mmap(host->sys, NULL, BYTES, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &opts.address));
	assert_ok(host->sys->mbind(host->sys, opts.address, BYTES, MPOL_BIND, &node, 1));
	assert_ok(vfb_memory_adopt(host->ctx, &opts, &memory));
	if (fails)
		fake_fail_call(host->fake, "get_mempolicy", 0, ENOMEM);
	ways[way].run(host, memory);
	assert_int_equal(populated_of(memory), ways[way].bytes);
	if (!fails) {
		assert_int_equal(fake_zeroed_by(host->fake, !node, node), before);
		assert_int_equal(fake_zeroed_by(host->fake, node, node), own + ways[way].bytes);
	}
	fake_fail_none(host->fake);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(host->sys->munmap(host->sys, opts.address, BYTES));
}

/*
 * Any workers if the kernel does not report a node. The caller's thread never asks, since a filter
 * of system calls would kill it: at the end, the fake kernel reports that as misuse.
 */
static void test_bound(void **state)
{
	static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

	(void)state;
	for (size_t i = 0; i < 4 * ARRAY_SIZE(ways); i++) {
		struct vfb_device *device;
		struct host host;

		host_start(&host, &(struct fake_config){.nodes = 2}, backends[i % 2], 1, &device);
		for (unsigned int node = 0; node < 2; node++)
			populate_bound(&host, i / 4, node, i / 2 % 2);
		assert_ok(vfb_device_close(device));
		host_close(&host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
