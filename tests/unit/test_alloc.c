/* SPDX-License-Identifier: MIT */
/* Every allocation of the library fails once in a guest's start and stop. */
#include "alloc.h"
#include "scenario.h"

static bool fail_allocation(const struct scenario *scenario, unsigned int n)
{
	struct fake *fake = scenario_machine(scenario);
	bool reached;
	int result;

	alloc_fail_nth(n);
	result = scenario_run(fake, scenario);
	reached = alloc_calls() >= n;
	alloc_fail_nth(0);
	/* What can do without the memory does. */
	if (result)
		assert_int_equal(result, -ENOMEM);
	if (result)
		assert_true(reached);
	assert_no_leaks(fake);
	fake_destroy(fake);
	return reached;
}

static void sweep(const struct scenario *scenario)
{
	unsigned int n = 1;

	while (fail_allocation(scenario, n))
		n++;
	print_message("%s: %u allocations failed in turn\n", scenario_name(scenario), n - 1);
	assert_true(n > 20);
}

static void test_in_turn(void **state)
{
	(void)state;
	sweep(&(struct scenario){.backend = VFB_BACKEND_TYPE1});
	sweep(&(struct scenario){.backend = VFB_BACKEND_IOMMUFD});
	sweep(&(struct scenario){.backend = VFB_BACKEND_IOMMUFD, .by_group = true});
}

static void test_overlapped(void **state)
{
	(void)state;
	sweep(&(struct scenario){.backend = VFB_BACKEND_TYPE1, .overlapped = true});
	sweep(&(struct scenario){.backend = VFB_BACKEND_IOMMUFD, .overlapped = true});
}

static void test_best_effort(void **state)
{
	(void)state;
	sweep(&(struct scenario){.backend = VFB_BACKEND_TYPE1, .best_effort = true});
	sweep(&(struct scenario){.backend = VFB_BACKEND_IOMMUFD, .best_effort = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_turn),
		cmocka_unit_test(test_overlapped),
		cmocka_unit_test(test_best_effort),
	};

	return cmocka_run_group_tests_name("allocations", tests, NULL, NULL);
}
