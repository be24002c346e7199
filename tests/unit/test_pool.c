/* SPDX-License-Identifier: MIT */
/* Pools of hugepages that are made larger for a memory, and get back what they were. */
#include <fcntl.h>

#include "context.h"
#include "counted.h"
#include "host.h"

static const unsigned int both[] = {0, 1};

static struct vfb_memory_opts growing(uint64_t bytes, enum vfb_page_size page_size)
{
	return (struct vfb_memory_opts){
		.size = sizeof(struct vfb_memory_opts),
		.bytes = bytes,
		.page_size = page_size,
		.flags = VFB_MEMORY_GROW_POOL,
	};
}

static void bind_to(struct vfb_memory_opts *opts, enum vfb_numa_policy policy,
		    const unsigned int *nodes, size_t count)
{
	opts->policy = policy;
	opts->nodes = nodes;
	opts->node_count = count;
}

static uint64_t pool_of(struct host *host, const char *folder)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/hugepages/hugepages-2048kB/nr_hugepages", folder);
	assert_true(vfb_sys_read_file(host->sys, path, text, sizeof(text)) > 0);
	return strtoull(text, NULL, 10);
}

static void assert_pools(struct host *host, uint64_t node0, uint64_t node1)
{
	assert_int_equal(pool_of(host, "/sys/devices/system/node/node0"), node0);
	assert_int_equal(pool_of(host, "/sys/devices/system/node/node1"), node1);
	assert_int_equal(pool_of(host, "/sys/kernel/mm"), node0 + node1);
}

static void open_two_nodes(struct host *host)
{
	host_open(host, &(struct fake_config){.nodes = 2, .pages_2m = {4, 2}});
}

static void test_anywhere(void **state)
{
	struct vfb_memory_opts opts = growing(32 * MIB, VFB_PAGE_2M);
	struct vfb_memory *memory, *other;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	/* Enough as it is. */
	other = make_memory(&host, 4 * MIB, VFB_PAGE_2M);
	assert_int_equal(stats_of(&host).compactions, 0);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_int_equal(stats_of(&host).compactions, 1);
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 18);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 6);
	assert_ok(vfb_memory_destroy(other));
	host_close(&host);
}

static void test_nodes(void **state)
{
	struct vfb_memory_opts opts = growing(32 * MIB, VFB_PAGE_2M);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	bind_to(&opts, VFB_NUMA_BIND, &both[1], 1);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_pools(&host, 4, 16);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_pools(&host, 4, 2);
	bind_to(&opts, VFB_NUMA_INTERLEAVE, both, 2);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_pools(&host, 8, 8);
	assert_ok(vfb_memory_destroy(memory));
	bind_to(&opts, VFB_NUMA_SPLIT, both, 2);
	opts.node_bytes = (uint64_t[]){26 * MIB, 6 * MIB};
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_pools(&host, 13, 3);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_pools(&host, 4, 2);
	host_close(&host);
}

/* Two sizes of pages, and the first that the host has room for. */
static void test_page_sizes(void **state)
{
	struct vfb_memory_opts opts = growing(GIB + 8 * MIB, VFB_PAGE_MIXED);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_int_equal(fake_free_1g(host.fake, 0) + fake_free_1g(host.fake, 1), 1);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(fake_free_1g(host.fake, 0) + fake_free_1g(host.fake, 1), 0);
	host_close(&host);

	host_open(&host, &(struct fake_config){.blocks_1g = {1}, .pages_2m = {2}});
	opts = growing(2 * GIB, VFB_PAGE_AUTO);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_ok(vfb_memory_info(memory, &info));
	assert_int_equal(info.page_size, VFB_PAGE_2M);
	assert_non_null(strstr(info.fallback, "1g: the pool of hugepages of 1 GiB could only "
					      "grow by 1 pages"));
	assert_int_equal(fake_free_1g(host.fake, 0), 0);
	assert_ok(vfb_memory_destroy(memory));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 2);
	host_close(&host);
}

static void test_no_room(void **state)
{
	struct vfb_memory_opts opts = growing(32 * MIB, VFB_PAGE_2M);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host,
		  &(struct fake_config){.nodes = 2, .pages_2m = {4, 2}, .blocks_2m = {100, 3}});
	bind_to(&opts, VFB_NUMA_BIND, &both[1], 1);
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOMEM, "grow by 3 pages",
		     "32 MiB", "buddyinfo");
	assert_null(memory);
	assert_pools(&host, 4, 2);
	host_close(&host);
}

static void test_not_allowed(void **state)
{
	struct vfb_memory_opts opts = growing(32 * MIB, VFB_PAGE_2M);
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	fake_deny(host.fake, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", EACCES);
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -ENOTSUP, "no hugepages");
	fake_deny(host.fake, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 0);
	fake_fail_call(host.fake, "pwrite:/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
		       1, EACCES);
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EACCES, "root",
		     "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	opts.flags = 8;
	assert_fails(vfb_memory_create(host.ctx, &opts, &memory), -EINVAL, "0x8");
	assert_pools(&host, 4, 2);
	host_close(&host);
}

/* Whatever fails, the pools are what they were; but for giving back, which is tried once. */
static void test_failures(void **state)
{
	struct vfb_memory_opts opts = growing(GIB + 32 * MIB, VFB_PAGE_MIXED);
	const char *failed = "";
	unsigned int n;

	(void)state;
	bind_to(&opts, VFB_NUMA_BIND, both, 2);
	for (n = 1; failed; n++) {
		struct vfb_memory *memory;
		struct host host;

		open_two_nodes(&host);
		fake_fail_nth(host.fake, n, 0);
		if (!vfb_memory_create(host.ctx, &opts, &memory)) {
			/* Of the calls that give back too. */
			fake_fail_nth(host.fake, 0, 0);
			assert_ok(vfb_memory_destroy(memory));
		}
		failed = fake_failed(host.fake);
		fake_fail_none(host.fake);
		assert_pools(&host, 4, 2);
		assert_int_equal(fake_free_1g(host.fake, 0) + fake_free_1g(host.fake, 1), 0);
		host_close(&host);
	}
	assert_true(n > 50);
}

/* The administrator makes the pool smaller than what is in use: those pages go when they are free,
 * and do not count as the pool's, neither when it grows nor when it shrinks. */
static void test_surplus(void **state)
{
	struct vfb_memory_opts opts = growing(24 * MIB, VFB_PAGE_2M);
	struct vfb_memory *first, *second;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	first = make_memory(&host, 12 * MIB, VFB_PAGE_2M);
	assert_ok(vfb_memory_populate(first));
	assert_ok(vfb_sys_write_file(host.sys,
				     "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
				     "4"));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 6);
	assert_ok(vfb_memory_create(host.ctx, &opts, &second));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 18);
	assert_ok(vfb_memory_destroy(second));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 6);
	assert_ok(vfb_memory_destroy(first));
	assert_int_equal(pool_of(&host, "/sys/kernel/mm"), 4);
	host_close(&host);
}

struct grower {
	struct host *host;
	struct vfb_ctx *ctx;
	pthread_t thread;
	unsigned int failed;
};

static void *grow_and_shrink(void *arg)
{
	struct vfb_memory_opts opts = growing(24 * MIB, VFB_PAGE_2M);
	struct grower *grower = arg;

	for (int i = 0; i < 3; i++) {
		struct vfb_memory *memory;

		grower->failed += vfb_memory_create(grower->ctx, &opts, &memory) != 0;
		grower->failed += vfb_memory_destroy(memory) != 0;
	}
	return NULL;
}

/* In another container: there is another sysfs, and other locks on its files. */
static int open_in_container(const struct vfb_sys *sys, const char *path, int flags)
{
	const struct vfb_sys *inner = ((const struct counted *)(const void *)sys)->inner;

	if (strstr(path, "compact") && flags == O_WRONLY)
		return -ENOENT;
	return inner->open(inner, path, flags);
}

/*
 * Several processes at once, every other one in a container: none takes another's pages, and the
 * pool is what it was.
 */
static void test_at_once(void **state)
{
	struct grower growers[4];
	struct counted container;
	struct host host;

	(void)state;
	open_two_nodes(&host);
	counted_init(&container, host.sys);
	container.sys.open = open_in_container;
	for (size_t i = 0; i < ARRAY_SIZE(growers); i++) {
		growers[i] = (struct grower){.host = &host};
		assert_ok(vfb_ctx_create_with(i & 1 ? &container.sys : host.sys, NULL,
					      &growers[i].ctx));
		assert_int_equal(host.sys->thread_create(host.sys, "grower", NULL, grow_and_shrink,
							 &growers[i], &growers[i].thread),
				 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(growers); i++) {
		host.sys->thread_join(host.sys, growers[i].thread);
		assert_int_equal(growers[i].failed, 0);
		assert_ok(vfb_ctx_destroy(growers[i].ctx));
	}
	assert_int_equal(stats_of(&host).unlocked_pool_changes, 0);
	assert_pools(&host, 4, 2);
	host_close(&host);
}

/* Anybody may hold the lock that spans containers, but not make others wait for ever. */
static void test_lock_held(void **state)
{
	struct vfb_memory_opts opts = growing(24 * MIB, VFB_PAGE_2M);
	struct vfb_memory *memory;
	struct host host;
	uint64_t start;
	int fd;

	(void)state;
	open_two_nodes(&host);
	fd = host.sys->open(host.sys, "/proc/self/ns/user", O_RDONLY);
	assert_int_equal(host.sys->lock_file(host.sys, fd, false), 0);
	start = fake_now(host.fake);
	assert_ok(vfb_memory_create(host.ctx, &opts, &memory));
	assert_in_range(fake_now(host.fake) - start, 4000 * MS, 6000 * MS);
	host.sys->close(host.sys, fd);
	assert_ok(vfb_memory_destroy(memory));
	assert_pools(&host, 4, 2);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_anywhere),    cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_page_sizes),  cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_not_allowed), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_at_once),	    cmocka_unit_test(test_surplus),
		cmocka_unit_test(test_lock_held),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
