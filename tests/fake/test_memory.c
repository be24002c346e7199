/* SPDX-License-Identifier: MIT */
/* Mappings, hugepages, policies, populating. */
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include "test_fake.h"

static void test_populate(void **state)
{
	struct fake_config config = {.nodes = 2, .zero_ns_per_gib = 1024 * MS};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	unsigned int nodes[] = {1};
	char *memory = map_anon(sys, 8 * FAKE_MIB, 0);
	void *pages[] = {memory, memory + FAKE_MIB, memory + 8 * FAKE_MIB};
	int where[3];

	(void)state;
	assert_int_equal(sys->mbind(sys, memory, FAKE_MIB, MPOL_BIND, nodes, 1), 0);
	assert_int_equal(sys->madvise(sys, memory, 2 * FAKE_MIB, MADV_POPULATE_WRITE), 0);
	assert_int_equal(sys->now(sys) - start, 2 * MS);
	assert_int_equal(fake_populated(fake, memory, 8 * FAKE_MIB), 2 * FAKE_MIB);
	assert_int_equal(sys->page_nodes(sys, pages, 3, where), 0);
	assert_int_equal(where[0], 1);
	assert_int_equal(where[1], 0);
	assert_int_equal(where[2], -EFAULT);
	assert_int_equal(fake_page_node(fake, memory + 3 * FAKE_MIB), -ENOENT);
	assert_int_equal(fake_zeroed_by(fake, -1, 1), FAKE_MIB);
	/* What is there costs nothing more. */
	assert_int_equal(sys->madvise(sys, memory, 2 * FAKE_MIB, MADV_POPULATE_WRITE), 0);
	assert_int_equal(sys->now(sys) - start, 2 * MS);
	memory[5] = 1;
	assert_int_equal(sys->madvise(sys, memory, 9 * FAKE_MIB, MADV_POPULATE_WRITE), -ENOMEM);
	assert_int_equal(fake_populated_now(fake), 8 * FAKE_MIB);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_int_equal(fake_populated_now(fake), 0);
	assert_int_equal(fake_free_memory(fake, 0), 64 * FAKE_GIB);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* More than there are addresses; the caller's pointer stays, as on the running kernel. */
static void test_no_addresses(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	void *memory = &fake;

	(void)state;
	/* The kernel's error is ENOMEM, valgrind's is EINVAL. */
	assert_true(sys->mmap(sys, NULL, UINT64_C(1) << 60, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0, &memory) < 0);
	assert_ptr_equal(memory, &fake);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_base_memory_exhausted(void **state)
{
	struct fake_config config = {.nodes = 2, .memory = {4 * FAKE_MIB, 4 * FAKE_MIB}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	unsigned int nodes[] = {0};
	char *memory = map_anon(sys, 16 * FAKE_MIB, 0);
	char text[256];

	(void)state;
	/* Bind is strict; by default the other node helps out. */
	assert_int_equal(sys->mbind(sys, memory, 8 * FAKE_MIB, MPOL_BIND, nodes, 1), 0);
	assert_int_equal(sys->madvise(sys, memory, 8 * FAKE_MIB, MADV_POPULATE_WRITE), -ENOMEM);
	assert_int_equal(fake_populated(fake, memory, 8 * FAKE_MIB), 4 * FAKE_MIB);
	assert_int_equal(sys->madvise(sys, memory + 8 * FAKE_MIB, 4 * FAKE_MIB,
				      MADV_POPULATE_WRITE),
			 0);
	assert_int_equal(fake_page_node(fake, memory + 8 * FAKE_MIB), 1);
	assert_int_equal(sys->munmap(sys, memory, 16 * FAKE_MIB), 0);
	/* A real one would have killed the process. */
	assert_int_equal(fake_leaks(fake, text, sizeof(text)), 1);
	assert_non_null(strstr(text, "killed: out of memory"));
	fake_destroy(fake);
}

static void test_hugetlb(void **state)
{
	struct fake_config config = {.nodes = 2, .pages_2m = {4, 2}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	unsigned int nodes[] = {1};
	struct fake_stats stats;
	char *memory = map_anon(sys, 8 * FAKE_MIB, HUGE_2M);
	void *more;

	(void)state;
	assert_int_equal((uintptr_t)memory % (2 * FAKE_MIB), 0);
	fake_stats(fake, &stats);
	assert_int_equal(stats.reserved_2m, 4);
	assert_int_equal(fake_free_2m(fake, 0), 4);
	assert_int_equal(sys->mmap(sys, NULL, 6 * FAKE_MIB, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | HUGE_2M, -1, 0, &more),
			 -ENOMEM);
	/* Reserved, and yet not to be had on that node. */
	assert_int_equal(sys->mbind(sys, memory, 8 * FAKE_MIB, MPOL_BIND, nodes, 1), 0);
	assert_int_equal(sys->madvise(sys, memory, 8 * FAKE_MIB, MADV_POPULATE_WRITE), -EFAULT);
	assert_int_equal(fake_free_2m(fake, 1), 0);
	assert_int_equal(sys->mbind(sys, memory, 8 * FAKE_MIB, MPOL_DEFAULT, NULL, 0), 0);
	assert_int_equal(sys->madvise(sys, memory, 8 * FAKE_MIB, MADV_POPULATE_WRITE), 0);
	assert_int_equal(fake_free_2m(fake, 0), 2);
	fake_stats(fake, &stats);
	assert_int_equal(stats.reserved_2m, 0);
	assert_int_equal(sys->munmap(sys, memory, FAKE_MIB), -EINVAL);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_int_equal(fake_free_2m(fake, 0), 4);
	assert_int_equal(fake_free_2m(fake, 1), 2);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_interleave_and_threads(void **state)
{
	struct fake_config config = {.nodes = 2, .pages_2m = {8, 8}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	unsigned int nodes[] = {0, 1};
	char *memory = map_anon(sys, 8 * FAKE_MIB, HUGE_2M);

	(void)state;
	assert_int_equal(sys->mbind(sys, memory, 8 * FAKE_MIB, MPOL_INTERLEAVE, nodes, 2), 0);
	assert_int_equal(sys->madvise(sys, memory, 8 * FAKE_MIB, MADV_POPULATE_WRITE), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(fake_page_node(fake, memory + i * 2 * FAKE_MIB), i % 2);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

struct populater {
	const struct vfb_sys *sys;
	void *memory;
	uint64_t bytes;
};

static void *populate_thread(void *arg)
{
	struct populater *p = arg;

	p->sys->madvise(p->sys, p->memory, p->bytes, MADV_POPULATE_WRITE);
	return NULL;
}

/* Threads bound to a node place pages there, and two take half the time. */
static void test_bound_threads(void **state)
{
	struct fake_config config = {.nodes = 2, .zero_ns_per_gib = 1024 * MS};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	uint64_t start = sys->now(sys);
	char *memory = map_anon(sys, 8 * FAKE_MIB, 0);
	struct populater populaters[2];
	struct fake_stats stats;
	pthread_t threads[2];
	cpu_set_t cpus;

	(void)state;
	for (unsigned int node = 0; node < 2; node++) {
		populaters[node] = (struct populater){sys, memory + node * 4 * FAKE_MIB,
						      4 * FAKE_MIB};
		assert_int_equal(sys->node_cpus(sys, node, &cpus), 0);
		assert_int_equal(sys->thread_create(sys, "populater", &cpus, populate_thread,
						    &populaters[node], &threads[node]),
				 0);
	}
	for (int node = 0; node < 2; node++)
		sys->thread_join(sys, threads[node]);
	assert_int_equal(sys->now(sys) - start, 4 * MS);
	assert_int_equal(fake_page_node(fake, memory), 0);
	assert_int_equal(fake_page_node(fake, memory + 4 * FAKE_MIB), 1);
	assert_int_equal(fake_zeroed_by(fake, 0, 0), 4 * FAKE_MIB);
	assert_int_equal(fake_zeroed_by(fake, 1, 1), 4 * FAKE_MIB);
	assert_int_equal(fake_zeroed_by(fake, -1, 0), 0);
	assert_int_equal(fake_zeroed_on_cpu(fake, 4), 4 * FAKE_MIB);
	fake_stats(fake, &stats);
	assert_int_equal(stats.max_populates_in_flight, 2);
	assert_int_equal(stats.populate_calls, 2);
	assert_int_equal(stats.max_populate_bytes, 4 * FAKE_MIB);
	assert_int_equal(sys->node_cpus(sys, 2, &cpus), -ENOENT);
	assert_int_equal(sys->max_node(sys), 1);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* Reserve with room to align, give back what is too much, map over a part. */
static void test_cutting(void **state)
{
	struct fake_config config = {.pages_1g = {1}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 8 * FAKE_MIB, 0);
	struct fake_stats stats;
	void *out;

	(void)state;
	assert_int_equal(sys->munmap(sys, memory, FAKE_MIB), 0);
	assert_int_equal(sys->munmap(sys, memory + 7 * FAKE_MIB, FAKE_MIB), 0);
	assert_int_equal(sys->madvise(sys, memory, FAKE_MIB, MADV_POPULATE_WRITE), -ENOMEM);
	assert_int_equal(sys->mmap(sys, memory + 2 * FAKE_MIB, FAKE_MIB, PROT_READ,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &out),
			 0);
	assert_ptr_equal(out, memory + 2 * FAKE_MIB);
	assert_int_equal(sys->madvise(sys, out, 4096, MADV_POPULATE_WRITE), -EINVAL);
	assert_int_equal(sys->madvise(sys, memory + 3 * FAKE_MIB, 4 * FAKE_MIB,
				      MADV_POPULATE_WRITE),
			 0);
	assert_int_equal(fake_populated(fake, memory, 8 * FAKE_MIB), 4 * FAKE_MIB);
	fake_stats(fake, &stats);
	assert_int_equal(stats.vmas, 3);
	assert_int_equal(sys->munmap(sys, memory + FAKE_MIB, 6 * FAKE_MIB), 0);
	assert_int_equal(fake_populated_now(fake), 0);
	memory = map_anon(sys, FAKE_GIB, MAP_HUGETLB | (30 << 26) | MAP_POPULATE);
	assert_int_equal((uintptr_t)memory % FAKE_GIB, 0);
	assert_int_equal(fake_free_1g(fake, 0), 0);
	assert_int_equal(sys->munmap(sys, memory, FAKE_GIB), 0);
	assert_int_equal(fake_free_1g(fake, 0), 1);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_thp(void **state)
{
	struct fake *fake = fake_create(NULL);
	const struct vfb_sys *sys = fake_sys(fake);
	char *memory = map_anon(sys, 8 * FAKE_MIB, 0);
	char *aligned = memory + (-(uintptr_t)memory % (2 * FAKE_MIB));

	(void)state;
	assert_int_equal(sys->madvise(sys, aligned, 4 * FAKE_MIB, MADV_HUGEPAGE), 0);
	assert_int_equal(sys->madvise(sys, aligned + 8192, 4096, MADV_POPULATE_WRITE), 0);
	assert_int_equal(fake_populated_now(fake), 2 * FAKE_MIB);
	assert_int_equal(sys->madvise(sys, aligned + 4 * FAKE_MIB, 4096, MADV_POPULATE_WRITE), 0);
	assert_int_equal(fake_populated_now(fake), 2 * FAKE_MIB + 4096);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

static void test_memfd(void **state)
{
	struct fake_config config = {.pages_2m = {4}};
	struct fake *fake = fake_create(&config);
	const struct vfb_sys *sys = fake_sys(fake);
	int fd = sys->memfd_create(sys, "memory", MFD_HUGETLB | MFD_HUGE_2MB);
	char *memory, *twin;
	void *out;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(sys->ftruncate(sys, fd, FAKE_MIB), -EINVAL);
	assert_int_equal(sys->ftruncate(sys, fd, 8 * FAKE_MIB), 0);
	assert_int_equal(sys->mmap(sys, NULL, 8 * FAKE_MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				   0, &out),
			 0);
	memory = out;
	assert_int_equal(sys->mmap(sys, NULL, 2 * FAKE_MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				   2 * FAKE_MIB, &out),
			 0);
	twin = out;
	memory[2 * FAKE_MIB + 3] = 42;
	assert_int_equal(twin[3], 42);
	assert_int_equal(sys->madvise(sys, memory, 8 * FAKE_MIB, MADV_POPULATE_WRITE), 0);
	assert_int_equal(fake_page_node(fake, twin), 0);
	assert_int_equal(sys->munmap(sys, memory, 8 * FAKE_MIB), 0);
	assert_int_equal(sys->munmap(sys, twin, 2 * FAKE_MIB), 0);
	/* The file keeps its pages. */
	assert_int_equal(fake_free_2m(fake, 0), 0);
	sys->close(sys, fd);
	assert_int_equal(fake_free_2m(fake, 0), 4);
	assert_int_equal(sys->memfd_create(sys, "memory", MFD_HUGETLB | (22 << 26)), -ENODEV);
	assert_no_leaks(fake);
	fake_destroy(fake);
}

int run_memory_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_populate),
		cmocka_unit_test(test_no_addresses),
		cmocka_unit_test(test_base_memory_exhausted),
		cmocka_unit_test(test_hugetlb),
		cmocka_unit_test(test_interleave_and_threads),
		cmocka_unit_test(test_bound_threads),
		cmocka_unit_test(test_cutting),
		cmocka_unit_test(test_thp),
		cmocka_unit_test(test_memfd),
	};

	return cmocka_run_group_tests_name("fake: memory", tests, NULL, NULL);
}
