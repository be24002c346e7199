/* SPDX-License-Identifier: MIT */
/* Every allocation of the library fails once in a guest's start and stop. */
#include "alloc.h"
#include "guest_run.h"

static bool fail_allocation(const struct guest_variant *variant, unsigned int n)
{
	struct fake *fake = guest_machine(variant);
	bool reached;
	int result;

	alloc_fail_nth(n);
	result = guest_run(fake, variant);
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

static void sweep(const struct guest_variant *variant)
{
	unsigned int n = 1;

	while (fail_allocation(variant, n))
		n++;
	print_message("%s: %u allocations failed in turn\n", guest_variant_name(variant), n - 1);
	assert_true(n > 20);
}

static void test_in_turn(void **state)
{
	(void)state;
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_TYPE1});
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_IOMMUFD});
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_IOMMUFD, .by_group = true});
}

static void test_overlapped(void **state)
{
	(void)state;
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_TYPE1, .overlapped = true});
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_IOMMUFD, .overlapped = true});
}

static void test_best_effort(void **state)
{
	(void)state;
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_TYPE1, .best_effort = true});
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_IOMMUFD, .best_effort = true});
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
