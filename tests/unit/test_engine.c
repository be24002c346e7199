/* SPDX-License-Identifier: MIT */
/* The engine: how many workers, on which CPUs, and who runs what. */
#include "engine/engine.h"

#include <stdatomic.h>

#include "host.h"

#define STEP (10 * MS)
#define MAX  16

struct probe {
	struct vfb_task task;
	const struct vfb_sys *sys;
	atomic_uint *done;
	cpu_set_t cpus;
	int thread;
	/* When it began. */
	uint64_t at;
};

static void run_probe(struct vfb_task *task)
{
	struct probe *probe = (struct probe *)task;

	probe->sys->get_affinity(probe->sys, &probe->cpus);
	probe->thread = probe->sys->current_thread(probe->sys);
	probe->at = probe->sys->now(probe->sys);
	probe->sys->sleep(probe->sys, STEP);
	atomic_fetch_add(probe->done, 1);
}

struct bench {
	struct fake *fake;
	const struct vfb_sys *sys;
	struct vfb_engine *engine;
	struct probe probes[MAX];
	unsigned int count;
	atomic_uint done;
};

static void bench_open(struct bench *bench, const struct fake_config *config, unsigned int threads)
{
	memset(bench, 0, sizeof(*bench));
	bench->fake = fake_create(config);
	bench->sys = fake_sys(bench->fake);
	assert_ok(vfb_engine_create(bench->sys, threads, &bench->engine));
}

static void bench_close(struct bench *bench)
{
	vfb_engine_destroy(bench->engine);
	assert_no_leaks(bench->fake);
	fake_destroy(bench->fake);
}

static void prepare_probes(struct bench *bench, unsigned int count)
{
	bench->count = count;
	atomic_store(&bench->done, 0);
	for (unsigned int i = 0; i < count; i++)
		bench->probes[i] = (struct probe){.task.run = run_probe,
						  .sys = bench->sys,
						  .done = &bench->done};
}

static void submit_sleeping(struct bench *bench, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		vfb_engine_submit_sleeping(bench->engine, &bench->probes[i].task);
}

/* How long all of them took, in steps. */
static unsigned int wait_steps(struct bench *bench, uint64_t begin)
{
	uint64_t last = begin;

	bench->sys->sleep(bench->sys, 100 * STEP);
	assert_int_equal(atomic_load(&bench->done), bench->count);
	for (unsigned int i = 0; i < bench->count; i++)
		if (bench->probes[i].at > last)
			last = bench->probes[i].at;
	return (last - begin) / STEP + 1;
}

static unsigned int run_on(struct bench *bench, int node, unsigned int count)
{
	uint64_t begin = fake_now(bench->fake);

	prepare_probes(bench, count);
	for (unsigned int i = 0; i < count; i++)
		vfb_engine_submit(bench->engine, &bench->probes[i].task, node);
	return wait_steps(bench, begin);
}

static cpu_set_t cpu_set(unsigned int first, unsigned int last)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (unsigned int cpu = first; cpu <= last; cpu++)
		CPU_SET(cpu, &cpus);
	return cpus;
}

static void assert_all_on(const struct bench *bench, cpu_set_t cpus)
{
	for (unsigned int i = 0; i < bench->count; i++)
		assert_true(CPU_EQUAL(&bench->probes[i].cpus, &cpus));
}

static void test_nodes(void **state)
{
	struct fake_config config = {.nodes = 3, .cpus_per_node = 2};
	struct bench bench;

	(void)state;
	bench_open(&bench, &config, 0);
	assert_int_equal(vfb_engine_workers(bench.engine), 6);
	for (unsigned int node = 0; node < 3; node++) {
		assert_int_equal(run_on(&bench, node, 6), 3);
		assert_all_on(&bench, cpu_set(2 * node, 2 * node + 1));
	}
	/* Any node: all of them. */
	assert_int_equal(run_on(&bench, VFB_ANY_NODE, 6), 1);
	/* One that there is not. */
	assert_int_equal(run_on(&bench, 17, 6), 1);
	bench_close(&bench);
}

/* The quota of the cgroup lets fewer of them run. */
static void test_quota(void **state)
{
	static const struct {
		const char *cpu_max;
		unsigned int workers;
	} quotas[] = {
		{"max 100000", 8},    {"800000 100000", 8},
		{"900000 100000", 8}, {"300000 100000", 3},
		{"250000 100000", 3}, {"10000 100000", 1},
		{"0 100000", 1},      {"", 8},
		{"nonsense", 8},
	};
	struct bench bench;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(quotas); i++) {
		struct fake_config config = {.nodes = 2, .cpu_max = quotas[i].cpu_max};

		bench_open(&bench, &config, 0);
		assert_int_equal(vfb_engine_workers(bench.engine), quotas[i].workers);
		bench_close(&bench);
		/* Who asks for more gets more. */
		bench_open(&bench, &config, 12);
		assert_int_equal(vfb_engine_workers(bench.engine), 12);
		bench_close(&bench);
	}
}

/* The caller may use the last CPU of node 0 and the first three of node 1. */
static void test_affinity(void **state)
{
	struct fake_config config = {.nodes = 3, .cpus_per_node = 4, .affinity = cpu_set(3, 6)};
	struct bench bench;

	(void)state;
	bench_open(&bench, &config, 0);
	assert_int_equal(vfb_engine_workers(bench.engine), 4);
	assert_int_equal(run_on(&bench, 0, 2), 2);
	assert_all_on(&bench, cpu_set(3, 3));
	assert_int_equal(run_on(&bench, 1, 6), 2);
	assert_all_on(&bench, cpu_set(4, 6));
	/* No worker there: anyone does it, on its own CPUs. */
	assert_int_equal(run_on(&bench, 2, 4), 1);
	for (unsigned int i = 0; i < 4; i++) {
		cpu_set_t allowed = config.affinity;

		CPU_AND(&allowed, &allowed, &bench.probes[i].cpus);
		assert_true(CPU_EQUAL(&allowed, &bench.probes[i].cpus));
	}
	bench_close(&bench);
}

static void test_fewer_than_nodes(void **state)
{
	struct fake_config config = {.nodes = 4, .cpus_per_node = 2};
	struct bench bench;

	(void)state;
	bench_open(&bench, &config, 2);
	assert_int_equal(vfb_engine_workers(bench.engine), 2);
	for (int node = 0; node < 4; node++)
		assert_int_equal(run_on(&bench, node, 2), node < 2 ? 2 : 1);
	bench_close(&bench);
	bench_open(&bench, &config, 1);
	for (int node = -1; node < 4; node++)
		assert_int_equal(run_on(&bench, node, 2), 2);
	bench_close(&bench);
}

/* In proportion to the CPUs. */
static void test_proportion(void **state)
{
	struct fake_config config = {.nodes = 2, .cpus_per_node = 6, .affinity = cpu_set(4, 11)};
	struct bench bench;

	(void)state;
	bench_open(&bench, &config, 4);
	/* 2 CPUs to 6: one worker to three. */
	assert_int_equal(run_on(&bench, 0, 3), 3);
	assert_int_equal(run_on(&bench, 1, 3), 1);
	bench_close(&bench);
	/* More than CPUs. */
	bench_open(&bench, &config, 16);
	assert_int_equal(run_on(&bench, 0, 4), 1);
	assert_int_equal(run_on(&bench, 1, 12), 1);
	bench_close(&bench);
}

/* Nodes that have no CPUs, or are not there. */
static void test_odd_nodes(void **state)
{
	struct fake_config config = {.nodes = 4,
				     .cpus_per_node = 2,
				     .cpuless_nodes = 1 << 0,
				     .absent_nodes = 1 << 2};
	struct bench bench;

	(void)state;
	bench_open(&bench, &config, 0);
	assert_int_equal(vfb_engine_workers(bench.engine), 4);
	assert_int_equal(run_on(&bench, 0, 4), 1);
	assert_int_equal(run_on(&bench, 1, 4), 2);
	assert_int_equal(run_on(&bench, 2, 4), 1);
	bench_close(&bench);
}

/* Those that sleep don't keep those that compute from it, nor the other way round. */
static void test_sleepers(void **state)
{
	struct bench bench;
	uint64_t begin;

	(void)state;
	bench_open(&bench, NULL, 2);
	assert_ok(vfb_engine_reserve_sleepers(bench.engine, 3));
	begin = fake_now(bench.fake);
	prepare_probes(&bench, 8);
	submit_sleeping(&bench, 6);
	vfb_engine_submit(bench.engine, &bench.probes[6].task, VFB_ANY_NODE);
	vfb_engine_submit(bench.engine, &bench.probes[7].task, VFB_ANY_NODE);
	assert_int_equal(wait_steps(&bench, begin), 2);
	assert_int_equal(bench.probes[6].at, begin);
	assert_int_equal(bench.probes[7].at, begin);
	/* As long as they are reserved others get their own. */
	assert_ok(vfb_engine_reserve_sleepers(bench.engine, 2));
	begin = fake_now(bench.fake);
	prepare_probes(&bench, 5);
	submit_sleeping(&bench, 5);
	assert_int_equal(wait_steps(&bench, begin), 1);
	/* Released, they are there for the next. */
	vfb_engine_release_sleepers(bench.engine, 5);
	fake_fail_call(bench.fake, "thread_create", 0, EAGAIN);
	assert_ok(vfb_engine_reserve_sleepers(bench.engine, 5));
	vfb_engine_release_sleepers(bench.engine, 5);
	bench_close(&bench);
}

static void test_no_sleeper(void **state)
{
	struct fake_stats stats;
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL, 1);
	fake_fail_call(bench.fake, "thread_create", 1, EAGAIN);
	assert_fails(vfb_engine_reserve_sleepers(bench.engine, 4), -EAGAIN, "thread",
		     "RLIMIT_NPROC");
	/* There is a limit to how many there can be. */
	assert_ok(vfb_engine_reserve_sleepers(bench.engine, 1000));
	fake_stats(bench.fake, &stats);
	assert_int_equal(stats.threads, 1 + 64);
	bench_close(&bench);
}

static atomic_uint crew_runs;
static struct vfb_task crew_next;

/* Submitted again by the last of its runs, as soon as that may be. */
static void run_crew(struct vfb_task *task)
{
	struct bench *bench = (struct bench *)(uintptr_t)task->span;

	bench->sys->sleep(bench->sys, STEP);
	if (atomic_fetch_add(&crew_runs, 1) + 1 == 3) {
		task->runs = 2;
		vfb_engine_submit(bench->engine, task, VFB_ANY_NODE);
	}
}

static void run_next(struct vfb_task *task)
{
	struct bench *bench = (struct bench *)(uintptr_t)task->span;

	assert_true(atomic_load(&crew_runs) >= 2);
	atomic_fetch_add(&bench->done, 1);
}

/* One task is run by several threads, before what was submitted after it, and can come again. */
static void test_crew(void **state)
{
	struct bench bench;
	struct vfb_task crew = {.run = run_crew, .span = (uintptr_t)&bench, .runs = 3};

	(void)state;
	bench_open(&bench, NULL, 2);
	atomic_store(&crew_runs, 0);
	crew_next = (struct vfb_task){.run = run_next, .span = (uintptr_t)&bench};
	vfb_engine_submit(bench.engine, &crew, VFB_ANY_NODE);
	vfb_engine_submit(bench.engine, &crew_next, VFB_ANY_NODE);
	bench.sys->sleep(bench.sys, 100 * STEP);
	assert_int_equal(atomic_load(&crew_runs), 5);
	assert_int_equal(atomic_load(&bench.done), 1);
	bench_close(&bench);
}

/* A task that is submitted again does not bring along what followed it in the queue before. */
static void test_again(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL, 1);
	assert_int_equal(run_on(&bench, VFB_ANY_NODE, 2), 2);
	atomic_store(&bench.done, 0);
	vfb_engine_submit(bench.engine, &bench.probes[0].task, VFB_ANY_NODE);
	bench.sys->sleep(bench.sys, 100 * STEP);
	assert_int_equal(atomic_load(&bench.done), 1);
	bench_close(&bench);
}

/* In the order in which they were given. */
static void test_order(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench, NULL, 1);
	assert_int_equal(run_on(&bench, 0, MAX), MAX);
	for (unsigned int i = 1; i < MAX; i++)
		assert_true(bench.probes[i].at > bench.probes[i - 1].at);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nodes),	   cmocka_unit_test(test_quota),
		cmocka_unit_test(test_affinity),   cmocka_unit_test(test_fewer_than_nodes),
		cmocka_unit_test(test_proportion), cmocka_unit_test(test_odd_nodes),
		cmocka_unit_test(test_sleepers),   cmocka_unit_test(test_no_sleeper),
		cmocka_unit_test(test_order),	   cmocka_unit_test(test_crew),
		cmocka_unit_test(test_again),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
