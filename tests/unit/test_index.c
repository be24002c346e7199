/* SPDX-License-Identifier: MIT */
/* The index of a space: what overlaps, where the gaps are, in all 64 bits. */
#include "dma/index.h"
#include "host.h"

static struct vfb_mapping mapping(uint64_t iova, uint64_t bytes)
{
	return (struct vfb_mapping){.iova = iova, .bytes = bytes};
}

static void add(struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	struct vfb_mapping one = mapping(iova, bytes);
	size_t clash;

	assert_int_equal(vfb_index_add(index, &one, 1, &clash), 0);
}

static void assert_order(const struct vfb_index *index, const uint64_t *iovas, size_t count)
{
	assert_int_equal(index->count, count);
	for (size_t i = 0; i < count; i++)
		assert_true(index->mappings[i].iova == iovas[i]);
}

static void test_merge(void **state)
{
	static const uint64_t all[] = {0, 0x1000, 0x3000, 0x5000, 0x6000, 0x9000, 0xb000};
	struct vfb_mapping first[] = {mapping(0x1000, 0x1000), mapping(0x5000, 0x1000),
				      mapping(0x9000, 0x1000)};
	struct vfb_mapping second[] = {mapping(0, 0x1000), mapping(0x3000, 0x2000),
				       mapping(0x6000, 0x1000), mapping(0xb000, 0x1000)};
	struct vfb_index index = {0};
	size_t clash;

	(void)state;
	assert_int_equal(vfb_index_add(&index, NULL, 0, &clash), 0);
	assert_int_equal(vfb_index_add(&index, first, 3, &clash), 0);
	assert_int_equal(vfb_index_add(&index, second, 4, &clash), 0);
	assert_order(&index, all, 7);
	assert_int_equal(vfb_index_position(&index, 0x2fff), 2);
	assert_int_equal(vfb_index_position(&index, 0x4fff), 2);
	assert_int_equal(vfb_index_position(&index, 0x5000), 3);
	assert_int_equal(vfb_index_position(&index, 0xc000), 7);
	assert_ptr_equal(vfb_index_find(&index, 0x3000), &index.mappings[2]);
	assert_null(vfb_index_find(&index, 0x4000));
	assert_null(vfb_index_find(&index, 0x2000));
	assert_null(vfb_index_find(&index, 0xc000));
	vfb_index_free(&index);
	assert_int_equal(index.count, 0);
	assert_null(vfb_index_find(&index, 0));
}

/* All or none; the one that overlaps is told. */
static void test_overlap(void **state)
{
	static const uint64_t before[] = {0x2000, 0x8000};
	static const struct {
		uint64_t iova, bytes;
		bool clashes;
	} tries[] = {
		{0x2000, 0x1000, true},
		{0x1000, 0x1001, true},
		{0x3fff, 1, true},
		{0, 0x100000, true},
		{0x2fff, 0x2, true},
		{0x1000, 0x1000, false},
		{0x4000, 0x4000, false},
		{0x8fff, 0x1000, true},
		{0x9000, UINT64_MAX - 0x8fff, false},
		{0, UINT64_MAX, true},
	};
	struct vfb_mapping pair[2];
	size_t clash;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct vfb_index index = {0};
		bool first = tries[i].iova < 0x8000;

		add(&index, 0x2000, 0x2000);
		add(&index, 0x8000, 0x1000);
		clash = 99;
		/* With another one that is free. */
		pair[!first] = mapping(tries[i].iova, tries[i].bytes);
		pair[first] = first ? mapping(UINT64_MAX, 1) : mapping(0, 1);
		if (tries[i].clashes) {
			assert_int_equal(vfb_index_add(&index, pair, 2, &clash), -EEXIST);
			assert_int_equal(clash, !first);
			assert_order(&index, before, 2);
		} else {
			assert_int_equal(vfb_index_add(&index, &pair[!first], 1, &clash), 0);
			assert_int_equal(index.count, 3);
		}
		vfb_index_free(&index);
	}
}

static void test_compact(void **state)
{
	static const uint64_t odd[] = {0x1000, 0x3000, 0x5000, 0x7000, 0x9000};
	struct vfb_index index = {0};

	(void)state;
	vfb_index_compact(&index);
	for (uint64_t i = 0; i < 10; i++)
		add(&index, i * 0x1000, 0x1000);
	for (size_t i = 0; i < 10; i += 2)
		index.mappings[i].state = VFB_MAPPING_GONE;
	vfb_index_compact(&index);
	assert_order(&index, odd, 5);
	/* Their place is free. */
	add(&index, 0x2000, 0x1000);
	for (size_t i = 0; i < index.count; i++)
		index.mappings[i].state = VFB_MAPPING_GONE;
	vfb_index_compact(&index);
	assert_int_equal(index.count, 0);
	vfb_index_free(&index);
}

static void test_many(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	/* 7919 is a prime: every number once, in no order. */
	for (uint64_t i = 0; i < 1000; i++)
		add(&index, i * 7919 % 1000 * 0x1000, 0x1000);
	assert_int_equal(index.count, 1000);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_true(index.mappings[i].iova == i * 0x1000);
		assert_ptr_equal(vfb_index_find(&index, i * 0x1000), &index.mappings[i]);
	}
	vfb_index_free(&index);
}

static const struct vfb_iova_range everything = {0, UINT64_MAX};
/* As on x86: a hole for interrupts, 48 bits. */
static const struct vfb_iova_range x86[] = {{0, 0xfedfffff}, {0xfef00000, 0xffffffffffff}};

static void assert_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
		       size_t count, uint64_t bytes, uint64_t address, uint64_t alignment,
		       uint64_t expected)
{
	uint64_t iova = 1;

	assert_true(vfb_index_find_gap(index, ranges, count, bytes, address, alignment, &iova));
	if (iova != expected)
		fail_msg("0x%llx instead of 0x%llx", (unsigned long long)iova,
			 (unsigned long long)expected);
}

static void assert_no_gap(const struct vfb_index *index, const struct vfb_iova_range *ranges,
			  size_t count, uint64_t bytes, uint64_t alignment)
{
	uint64_t iova;

	assert_false(vfb_index_find_gap(index, ranges, count, bytes, 0, alignment, &iova));
}

static void test_gaps(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	assert_gap(&index, &everything, 1, 0x1000, 0, 0x1000, 0);
	add(&index, 0, 0x1000);
	add(&index, 0x2000, 0x1000);
	add(&index, 0x5000, 0x1000);
	assert_gap(&index, &everything, 1, 0x1000, 0, 0x1000, 0x1000);
	assert_gap(&index, &everything, 1, 0x2000, 0, 0x1000, 0x3000);
	assert_gap(&index, &everything, 1, 0x3000, 0, 0x1000, 0x6000);
	assert_gap(&index, &everything, 1, 0x1000, 0, 0x4000, 0x4000);
	assert_gap(&index, &everything, 1, 0x2000, 0, 0x4000, 0x8000);
	assert_no_gap(&index, NULL, 0, 0x1000, 0x1000);
	vfb_index_free(&index);
}

static void test_congruent(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	assert_gap(&index, &everything, 1, 4 * MIB, 0x7f0000123000, 2 * MIB, 0x123000);
	add(&index, 0, 3 * MIB);
	assert_gap(&index, &everything, 1, 4 * MIB, 0x7f0000123000, 2 * MIB, 2 * MIB + 0x123000);
	assert_gap(&index, &everything, 1, 4 * MIB, 0x7f0000123000, GIB, GIB + 0x123000);
	assert_gap(&index, &everything, 1, 4 * MIB, 0x7f0000123000, 4 * KIB, 3 * MIB);
	vfb_index_free(&index);
}

static void test_reserved(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	/* What does not fit below the hole goes above it. */
	assert_gap(&index, x86, 2, 4 * GIB, 0, 2 * MIB, 0xff000000);
	assert_gap(&index, x86, 2, 0xfee00000, 0, 2 * MIB, 0);
	assert_gap(&index, x86, 2, 0xfee00001, 0, 0x1000, 0xfef00000);
	add(&index, 0, 0xfedff000);
	assert_gap(&index, x86, 2, 0x1000, 0, 0x1000, 0xfedff000);
	assert_gap(&index, x86, 2, 0x2000, 0, 0x1000, 0xfef00000);
	/* To the very end, and not a byte more. */
	assert_gap(&index, x86, 2, (UINT64_C(1) << 48) - 0xfef00000, 0, 0x1000, 0xfef00000);
	assert_no_gap(&index, x86, 2, (UINT64_C(1) << 48) - 0xfef00000 + 1, 0x1000);
	assert_no_gap(&index, x86, 2, UINT64_MAX, 0x1000);
	vfb_index_free(&index);
}

/* At 2^64 nothing wraps. */
static void test_end(void **state)
{
	static const struct vfb_iova_range last = {-0x3000, UINT64_MAX};
	struct vfb_index index = {0};

	(void)state;
	assert_gap(&index, &last, 1, 0x3000, 0, 0x1000, -0x3000);
	assert_no_gap(&index, &last, 1, 0x3001, 0x1000);
	assert_no_gap(&index, &last, 1, 0x1000, 0x10000);
	add(&index, -0x1000, 0x1000);
	assert_gap(&index, &last, 1, 0x2000, 0, 0x1000, -0x3000);
	assert_no_gap(&index, &last, 1, 0x3000, 0x1000);
	add(&index, -0x3000, 0x2000);
	assert_no_gap(&index, &last, 1, 0x1000, 0x1000);
	assert_gap(&index, &everything, 1, 0x1000, 0, 0x1000, 0);
	vfb_index_free(&index);
	/* All of it. */
	add(&index, 0, UINT64_MAX);
	assert_gap(&index, &everything, 1, 1, UINT64_MAX, 0x1000, UINT64_MAX);
	add(&index, UINT64_MAX, 1);
	assert_no_gap(&index, &everything, 1, 1, 1);
	vfb_index_free(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),	 cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_compact),	 cmocka_unit_test(test_many),
		cmocka_unit_test(test_gaps),	 cmocka_unit_test(test_congruent),
		cmocka_unit_test(test_reserved), cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
