/* SPDX-License-Identifier: MIT */
/* Tables of segments: found at random sizes, and blocks shared from one to the next. */
#include "dma/table.h"
#include "host.h"

#define MAX_LINKS 5000

/* Segments of 16 at multiples of 32, but for those that are left out. */
static size_t make_links(struct vfb_link *links, size_t count, size_t without)
{
	size_t made = 0;

	for (size_t i = 0; i < count; i++)
		if (i != without)
			links[made++] = (struct vfb_link){32 + 32 * i, {16, 1000000 + i, 3}};
	return made;
}

static void assert_finds(const struct vfb_table *table, const struct vfb_link *links, size_t count)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++) {
		size_t number = vfb_table_search(table->begins, table->count, links[i].begin + 7);
		const struct vfb_block *block = table->blocks[number];
		size_t position = vfb_table_search(block->begins, block->count, links[i].begin + 7);

		assert_int_equal(block->begins[position], links[i].begin);
		assert_int_equal(block->segments[position].to, links[i].segment.to);
	}
	for (size_t i = 0; i < table->count; i++) {
		assert_in_range(table->blocks[i]->count, 1, VFB_BLOCK_SEGMENTS);
		total += table->blocks[i]->count;
	}
	assert_int_equal(total, count);
	/* Before all of them: the first. */
	assert_int_equal(vfb_table_search(table->begins, table->count, 0), 0);
}

static size_t count_shared(const struct vfb_table *a, const struct vfb_table *b)
{
	size_t shared = 0;

	for (size_t i = 0; i < a->count; i++)
		for (size_t n = 0; n < b->count; n++)
			shared += a->blocks[i] == b->blocks[n];
	return shared;
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {1, 2, 47, 48, 63, 64, 65, 127, 1000, MAX_LINKS};
	static struct vfb_link links[MAX_LINKS];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t count = make_links(links, sizes[i], SIZE_MAX);
		struct vfb_table *table = vfb_table_create(links, count, NULL);

		assert_non_null(table);
		assert_finds(table, links, count);
		vfb_table_free(table, NULL);
	}
}

/* One segment comes or goes: all blocks but one stay. */
static void test_shared(void **state)
{
	static struct vfb_link links[1000];
	struct vfb_table *old, *table;
	size_t count = make_links(links, 1000, SIZE_MAX);

	(void)state;
	old = vfb_table_create(links, count, NULL);
	for (size_t without = 0; without < 1000; without += 37) {
		count = make_links(links, 1000, without);
		table = vfb_table_create(links, count, old);
		assert_finds(table, links, count);
		assert_true(count_shared(old, table) >= old->count - 1);
		vfb_table_free(old, table);
		old = table;
		count = make_links(links, 1000, SIZE_MAX);
		table = vfb_table_create(links, count, old);
		assert_finds(table, links, count);
		assert_true(count_shared(old, table) >= old->count - 1);
		vfb_table_free(old, table);
		old = table;
	}
	vfb_table_free(old, NULL);
}

/* Grown and shrunk one by one, in other places: never many blocks with little in them. */
static void test_changes(void **state)
{
	static struct vfb_link links[MAX_LINKS];
	struct vfb_table *old = NULL, *table;

	(void)state;
	for (size_t step = 0; step < 2000; step++) {
		size_t size = step < 1000 ? 1 + step : 2000 - step;
		size_t count = 0;

		for (size_t i = 0; i < size; i++)
			links[count++] = (struct vfb_link){32 * (i * (step < 1000 ? 1 : 7)) + 32,
							   {16, i, 3}};
		table = vfb_table_create(links, count, old);
		assert_finds(table, links, count);
		assert_true(table->count <= 4 + 4 * count / 48);
		vfb_table_free(old, table);
		old = table;
	}
	vfb_table_free(old, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
