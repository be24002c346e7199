/* SPDX-License-Identifier: MIT */
/* The threads that a trace has named. */
#include "host.h"
#include "record/id_set.h"

/* Every ID is added once, whether IDs follow one another or differ in the upper half only. */
static void test_many(void **state)
{
	struct vfb_id_set set = {0};

	(void)state;
	for (int round = 0; round < 2; round++)
		for (uint64_t i = 1; i <= 20000; i++) {
			assert_int_equal(vfb_id_set_add(&set, i), !round);
			assert_int_equal(vfb_id_set_add(&set, i << 32 | 1), !round);
			assert_int_equal(vfb_id_set_add(&set, UINT64_MAX - i), !round);
		}
	assert_int_equal(set.count, 60000);
	/* Half of the places at most are used. */
	assert_true(set.room >= 2 * set.count && set.room <= 8 * set.count);
	vfb_id_set_free(&set);
	assert_int_equal(vfb_id_set_add(&set, 1), 1);
	vfb_id_set_free(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("id_set", tests, NULL, NULL);
}
