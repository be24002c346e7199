/* SPDX-License-Identifier: MIT */
/* The index of a space: what overlaps, where the gaps are, in all 64 bits. */
#include "dma/index.h"
#include "host.h"

static struct vfb_mapping *new_mapping(uint64_t iova, uint64_t bytes)
{
	struct vfb_mapping *mapping = calloc(1, sizeof(*mapping));

	assert_non_null(mapping);
	mapping->at.iova = iova;
	mapping->at.bytes = bytes;
	return mapping;
}

static void add(struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	assert_null(vfb_index_add(index, new_mapping(iova, bytes)));
}

static void assert_order(const struct vfb_index *index, const uint64_t *iovas, size_t count)
{
	struct vfb_mapping *mapping = vfb_index_at(index, 0);

	assert_int_equal(index->count, count);
	for (size_t i = 0; i < count; i++, mapping = vfb_index_next(mapping)) {
		assert_non_null(mapping);
		assert_true(mapping->at.iova == iovas[i]);
	}
	assert_null(mapping);
}

static void test_find(void **state)
{
	static const uint64_t all[] = {0, 0x1000, 0x3000, 0x5000, 0x6000, 0x9000, 0xb000};
	struct vfb_index index = {0};

	(void)state;
	add(&index, 0x1000, 0x1000);
	add(&index, 0x5000, 0x1000);
	add(&index, 0x9000, 0x1000);
	add(&index, 0, 0x1000);
	add(&index, 0x3000, 0x2000);
	add(&index, 0x6000, 0x1000);
	add(&index, 0xb000, 0x1000);
	assert_order(&index, all, 7);
	assert_int_equal(index.bytes, 0x8000);
	assert_true(vfb_index_at(&index, 0x2fff)->at.iova == 0x3000);
	assert_true(vfb_index_at(&index, 0x4fff)->at.iova == 0x3000);
	assert_true(vfb_index_at(&index, 0x5000)->at.iova == 0x5000);
	assert_null(vfb_index_at(&index, 0xc000));
	assert_ptr_equal(vfb_index_find(&index, 0x3000), vfb_index_at(&index, 0x3000));
	assert_null(vfb_index_find(&index, 0x4000));
	assert_null(vfb_index_find(&index, 0x2000));
	assert_null(vfb_index_find(&index, 0xc000));
	vfb_index_free(&index);
	assert_int_equal(index.count, 0);
	assert_null(vfb_index_find(&index, 0));
}

/* The one that is in the way is returned. */
static void test_overlap(void **state)
{
	static const struct {
		uint64_t iova, bytes, clash;
	} tries[] = {
		{0x2000, 0x1000, 0x2000},
		{0x1000, 0x1001, 0x2000},
		{0x3fff, 1, 0x2000},
		{0, 0x100000, 0x2000},
		{0x2fff, 0x2, 0x2000},
		{0x1000, 0x1000, 0},
		{0x4000, 0x4000, 0},
		{0x8fff, 0x1000, 0x8000},
		{0x9000, UINT64_MAX - 0x8fff, 0},
		{0, UINT64_MAX, 0x2000},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct vfb_mapping *tried = new_mapping(tries[i].iova, tries[i].bytes), *clash;
		struct vfb_index index = {0};

		add(&index, 0x2000, 0x2000);
		add(&index, 0x8000, 0x1000);
		clash = vfb_index_add(&index, tried);
		if (tries[i].clash) {
			assert_ptr_equal(clash, vfb_index_find(&index, tries[i].clash));
			assert_int_equal(index.count, 2);
			free(tried);
		} else {
			assert_null(clash);
			assert_int_equal(index.count, 3);
		}
		vfb_index_free(&index);
	}
}

static void test_remove(void **state)
{
	static const uint64_t odd[] = {0x1000, 0x3000, 0x5000, 0x7000, 0x9000};
	struct vfb_index index = {0};

	(void)state;
	for (uint64_t i = 0; i < 10; i++)
		add(&index, i * 0x1000, 0x1000);
	for (uint64_t i = 0; i < 10; i += 2)
		vfb_index_remove(&index, vfb_index_find(&index, i * 0x1000));
	assert_order(&index, odd, 5);
	/* Their place is free. */
	add(&index, 0x2000, 0x1000);
	while (index.count)
		vfb_index_remove(&index, vfb_index_at(&index, 0));
	assert_int_equal(index.bytes, 0);
	vfb_index_free(&index);
}

static void test_many(void **state)
{
	struct vfb_index index = {0};
	struct vfb_mapping *mapping;

	(void)state;
	/* 7919 is a prime: every number once, in no order. */
	for (uint64_t i = 0; i < 1000; i++)
		add(&index, i * 7919 % 1000 * 0x1000, 0x1000);
	assert_int_equal(index.count, 1000);
	mapping = vfb_index_at(&index, 0);
	for (uint64_t i = 0; i < 1000; i++, mapping = vfb_index_next(mapping)) {
		assert_true(mapping->at.iova == i * 0x1000);
		assert_ptr_equal(vfb_index_find(&index, i * 0x1000), mapping);
	}
	vfb_index_free(&index);
}

static void add_extent(struct vfb_index *index, uint64_t iova, uint64_t bytes)
{
	struct vfb_interval *extent = calloc(1, sizeof(*extent));

	assert_non_null(extent);
	*extent = (struct vfb_interval){.iova = iova, .bytes = bytes};
	vfb_index_add_extent(index, extent);
}

/* What the kernel has is listed apart from what was asked for. */
static void test_extents(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	add(&index, 0x1000, 0x4000);
	add(&index, 0x5000, 0x1000);
	assert_false(vfb_index_has_extents(&index, 0, UINT64_MAX));
	add_extent(&index, 0x1000, 0x2000);
	add_extent(&index, 0x3000, 0x3000);
	assert_true(vfb_index_has_extents(&index, 0x1000, 0x4000));
	/* It reaches into both mappings. */
	assert_true(vfb_index_has_extents(&index, 0x5000, 0x1000));
	assert_false(vfb_index_has_extents(&index, 0x6000, 0x1000));
	assert_int_equal(vfb_index_remove_extents(&index, 0x1000, 0x2000), 1);
	assert_false(vfb_index_has_extents(&index, 0x1000, 0x2000));
	assert_true(vfb_index_has_extents(&index, 0x3000, 1));
	add_extent(&index, 0x1000, 0x1000);
	add_extent(&index, 0x7000, 0x1000);
	assert_int_equal(vfb_index_remove_extents(&index, 0x1000, 0x5000), 2);
	assert_int_equal(vfb_index_remove_extents(&index, 0, UINT64_MAX), 1);
	vfb_index_free(&index);
}

static const struct vfb_iova_range everything = {0, UINT64_MAX};
/* As on x86: a hole for interrupts, 48 bits. */
static const struct vfb_iova_range x86[] = {{0, 0xfedfffff}, {0xfef00000, 0xffffffffffff}};

static void assert_gap(struct vfb_index *index, const struct vfb_iova_range *ranges, size_t count,
		       uint64_t bytes, uint64_t address, uint64_t alignment, uint64_t expected)
{
	uint64_t iova = 1;

	assert_true(vfb_index_find_gap(index, ranges, count, bytes, address, alignment, &iova));
	if (iova != expected)
		fail_msg("0x%llx instead of 0x%llx", (unsigned long long)iova,
			 (unsigned long long)expected);
}

static void assert_no_gap(struct vfb_index *index, const struct vfb_iova_range *ranges,
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

/* The same as looking at all of them, one after another. */
static uint64_t first_gap(const struct vfb_index *index, uint64_t first, uint64_t last,
			  uint64_t bytes, uint64_t alignment)
{
	struct vfb_mapping *mapping = vfb_index_at(index, first);

	for (;;) {
		first = (first + alignment - 1) & ~(alignment - 1);
		if (first > last || bytes - 1 > last - first)
			return UINT64_MAX;
		while (mapping && vfb_interval_last(&mapping->at) < first)
			mapping = vfb_index_next(mapping);
		if (!mapping || mapping->at.iova > first + (bytes - 1))
			return first;
		first = vfb_interval_last(&mapping->at) + 1;
	}
}

/* The summary of each subtree follows from those of its children. */
static void assert_summary(const struct vfb_interval *interval)
{
	const struct vfb_interval *left = RB_LEFT(interval, link),
				  *right = RB_RIGHT(interval, link);
	struct vfb_interval expected = *interval;

	if (left)
		assert_summary(left);
	if (right)
		assert_summary(right);
	vfb_interval_summarize(&expected);
	assert_true(interval->lowest == expected.lowest);
	assert_true(interval->highest == expected.highest);
	assert_true(interval->gap == expected.gap);
}

/* In a tree that is added to and removed from at random. */
static void test_random_gaps(void **state)
{
	struct vfb_index index = {0};

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		uint64_t place = random() % 2000 * 0x1000, bytes = (1 + random() % 8) * 0x1000;
		struct vfb_mapping *mapping = vfb_index_at(&index, place);
		struct vfb_iova_range range = {random() % 1000 * 0x1000, 0};
		uint64_t alignment = UINT64_C(0x1000) << random() % 4, found, expected;

		if (mapping && mapping->at.iova < place + bytes)
			vfb_index_remove(&index, mapping);
		else
			add(&index, place, bytes);
		if (i % 50 == 0 && index.count)
			assert_summary(RB_ROOT(&index.mappings));
		range.last = range.first + random() % 1000 * 0x1000 + 0xfff;
		expected = first_gap(&index, range.first, range.last, bytes, alignment);
		if (!vfb_index_find_gap(&index, &range, 1, bytes, 0, alignment, &found))
			found = UINT64_MAX;
		if (found != expected)
			fail_msg("step %d: 0x%llx instead of 0x%llx", i, (unsigned long long)found,
				 (unsigned long long)expected);
	}
	vfb_index_free(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),	 cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_remove),	 cmocka_unit_test(test_many),
		cmocka_unit_test(test_gaps),	 cmocka_unit_test(test_congruent),
		cmocka_unit_test(test_reserved), cmocka_unit_test(test_end),
		cmocka_unit_test(test_extents),	 cmocka_unit_test(test_random_gaps),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
