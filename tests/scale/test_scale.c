/* SPDX-License-Identifier: MIT */
/* Hosts that nobody here has: how often the library does what costs more with more CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "guest.h"

#define TIB (1024 * FAKE_GIB)
#define MIB FAKE_MIB

/* ThreadSanitizer leaves fewer addresses. */
#ifdef __SANITIZE_THREAD__
#define CPUS	   16
#define LESS(size) ((size) / 64)
#else
#define CPUS	   512
#define LESS(size) (size)
#endif

static const struct scale_host huge_host = {
	.cpus = CPUS,
	.nodes = 16,
	.devices = 32,
	.bytes = LESS(12 * TIB),
};

static struct scale_result run(struct scale_host host)
{
	struct scale_result result = {0};
	const char *failed = scale_run(&host, &result);

	if (failed)
		fail_msg("%s: %s", failed, vfb_last_error());
	return result;
}

/* Pieces of 1 GiB, each of which is mapped by the worker that has populated it. */
static void test_pieces(void **state)
{
	struct scale_host host = huge_host;
	const struct meter_counts *start;
	struct scale_result result;

	(void)state;
	host.page_size = VFB_PAGE_1G;
	host.backend = VFB_BACKEND_IOMMUFD;
	result = run(host);
	start = &result.steps[SCALE_START];
	assert_int_equal(result.steps[SCALE_CONTEXT].threads, CPUS);
	assert_int_equal(start->threads, 32);
	assert_int_equal(start->steps, host.bytes / FAKE_GIB);
	/* One thread is woken for each task, not all. */
	assert_true(start->wakes < start->steps + 1024);
	assert_true(start->locks < start->steps * 32 + 1024);
	assert_true(start->allocations < start->steps + 1024);
	assert_true(result.steps[SCALE_END].most_bytes <= 8 * MIB);
	assert_int_equal(result.steps[SCALE_END].bytes, 0);
}

/*
 * With smaller pages populating takes many steps, and between two of them workers share nothing: no
 * lock, nobody is woken.
 */
static void check_steps(enum vfb_page_size page_size, enum vfb_backend backend, bool first)
{
	struct scale_host host = huge_host;
	const struct meter_counts *start;
	struct scale_result result;

	host.bytes = LESS(TIB);
	host.page_size = page_size;
	host.backend = backend;
	host.populates_first = first;
	result = run(host);
	start = &result.steps[SCALE_START];
	assert_int_equal(start->steps, host.bytes / (2 * MIB));
	assert_true(start->locks < start->steps);
	assert_true(start->wakes < start->steps / 16);
	/* mincore(2) of what was populated before, 16 MiB at a time, and of nothing else. */
	assert_int_equal(start->looks, first ? host.bytes / (16 * MIB) : 0);
	assert_true(result.steps[SCALE_END].most_bytes <= 8 * MIB);
}

static void test_2m(void **state)
{
	(void)state;
	check_steps(VFB_PAGE_2M, VFB_BACKEND_IOMMUFD, false);
	check_steps(VFB_PAGE_2M, VFB_BACKEND_TYPE1, false);
	check_steps(VFB_PAGE_2M, VFB_BACKEND_IOMMUFD, true);
}

static void test_thp(void **state)
{
	(void)state;
	check_steps(VFB_PAGE_THP, VFB_BACKEND_IOMMUFD, false);
	check_steps(VFB_PAGE_THP, VFB_BACKEND_TYPE1, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_2m),
		cmocka_unit_test(test_thp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
