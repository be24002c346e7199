/* SPDX-License-Identifier: MIT */
/* Every system call of a guest's start and stop fails once: nothing breaks, nothing is left. */
#include <assert.h>
#include <stdlib.h>

#include "guest_run.h"

#define MAX_NAMES 128

/* Every so many calls one fails; more than 1 where a run takes long, as under valgrind. */
static unsigned int stride = 1;

/* The calls that were made to fail so far. */
struct names {
	char name[MAX_NAMES][96];
	unsigned int count;
};

static void add_name(struct names *names, const char *name)
{
	for (unsigned int i = 0; i < names->count; i++)
		if (!strcmp(names->name[i], name))
			return;
	assert_true(names->count < MAX_NAMES);
	snprintf(names->name[names->count++], sizeof(names->name[0]), "%s", name);
}

/*
 * Runs it with the @n-th call failing, of those called @name unless that is NULL. Returns whether
 * there were so many.
 */
static bool fail_call(const struct guest_variant *variant, const char *name, unsigned int n,
		      struct names *names)
{
	struct fake *fake = guest_machine(variant);
	bool reached;
	int result;

	/* What runs beside it gets further while it fails. */
	if (variant->overlapped)
		fake_fail_delay(fake, 20 * MS);
	if (name)
		fake_fail_call(fake, name, n, 0);
	else
		fake_fail_nth(fake, n, 0);
	result = guest_run(fake, variant);
	reached = fake_failed(fake);
	if (reached)
		add_name(names, fake_failed(fake));
	else
		assert_int_equal(result, 0);
	assert_no_leaks(fake);
	fake_destroy(fake);
	return reached;
}

/*
 * Each call in turn; and then each of those with the same name, since the order of calls is not
 * always the same.
 */
static void sweep(const struct guest_variant *variant)
{
	struct names names = {.count = 0};
	unsigned int calls = 0, named = 0;

	for (unsigned int n = 1; fail_call(variant, NULL, n, &names); n += stride)
		calls++;
	if (stride > 1)
		return;
	for (unsigned int i = 0; i < names.count; i++)
		for (unsigned int n = 1; fail_call(variant, names.name[i], n, &names); n++)
			named++;
	print_message("%s: %u calls failed in turn, of %u names, and %u by name\n",
		      guest_variant_name(variant), calls, names.count, named);
	assert_true(calls > 100 && names.count > 40 && named > 100);
}

#define SWEEP(name, ...)                                     \
	static void test_##name(void **state)                \
	{                                                    \
		(void)state;                                 \
		sweep(&(struct guest_variant){__VA_ARGS__}); \
	}

SWEEP(type1, .backend = VFB_BACKEND_TYPE1)
SWEEP(type1_overlapped, .backend = VFB_BACKEND_TYPE1, .overlapped = true)
SWEEP(type1_best_effort, .backend = VFB_BACKEND_TYPE1, .overlapped = true, .best_effort = true)
SWEEP(type1_width, .backend = VFB_BACKEND_TYPE1, .width = 1)
SWEEP(spapr, .backend = VFB_BACKEND_SPAPR)
SWEEP(spapr_overlapped, .backend = VFB_BACKEND_SPAPR, .overlapped = true)
SWEEP(iommufd, .backend = VFB_BACKEND_IOMMUFD)
SWEEP(iommufd_overlapped, .backend = VFB_BACKEND_IOMMUFD, .overlapped = true)
SWEEP(iommufd_best_effort, .backend = VFB_BACKEND_IOMMUFD, .overlapped = true, .best_effort = true)
SWEEP(groups, .backend = VFB_BACKEND_IOMMUFD, .by_group = true)
SWEEP(groups_overlapped, .backend = VFB_BACKEND_IOMMUFD, .by_group = true, .overlapped = true)
SWEEP(iommufd_width, .backend = VFB_BACKEND_IOMMUFD, .width = 1)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_type1),
		cmocka_unit_test(test_type1_overlapped),
		cmocka_unit_test(test_type1_best_effort),
		cmocka_unit_test(test_type1_width),
		cmocka_unit_test(test_spapr),
		cmocka_unit_test(test_spapr_overlapped),
		cmocka_unit_test(test_iommufd),
		cmocka_unit_test(test_iommufd_overlapped),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_groups_overlapped),
		cmocka_unit_test(test_iommufd_best_effort),
		cmocka_unit_test(test_iommufd_width),
	};

	if (argc > 1)
		stride = atoi(argv[1]);
	assert(stride > 0);
	return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
