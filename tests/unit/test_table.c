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

/* The patches of the last table. */
static struct vfb_patch patches[2];

/* A table of all the links, of which those in @area are new since @old. */
static struct vfb_table *replace(const struct vfb_table *old, const struct vfb_area *area,
				 const struct vfb_link *links, size_t count)
{
	size_t patch_count = vfb_table_cut(old, area, 1, patches);
	struct vfb_table *table;

	assert_int_equal(patch_count, 1);
	while (patches[0].first_link < count &&
	       links[patches[0].first_link].begin < patches[0].area.begin)
		patches[0].first_link++;
	while (patches[0].first_link + patches[0].link_count < count &&
	       links[patches[0].first_link + patches[0].link_count].begin <= patches[0].area.last)
		patches[0].link_count++;
	table = vfb_table_create(old, patches, patch_count, links);
	assert_non_null(table);
	return table;
}

static const struct vfb_area everything = {0, UINT64_MAX};

static void test_sizes(void **state)
{
	static const size_t sizes[] = {1, 2, 71, 72, 95, 96, 97, 191, 1000, MAX_LINKS};
	static struct vfb_link links[MAX_LINKS];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t count = make_links(links, sizes[i], SIZE_MAX);
		struct vfb_table *table = replace(NULL, &everything, links, count);
		struct vfb_table *again = replace(table, &everything, links, count);

		assert_finds(table, links, count);
		assert_finds(again, links, count);
		vfb_table_free_replaced(table, patches, 1);
		vfb_table_free(again);
	}
}

/* One segment comes or goes: all blocks but those beside it stay. */
static void test_shared(void **state)
{
	static struct vfb_link links[1000];
	struct vfb_table *old, *table;
	size_t count = make_links(links, 1000, SIZE_MAX);

	(void)state;
	old = replace(NULL, &everything, links, count);
	for (size_t without = 0; without < 1000; without += 37) {
		struct vfb_area area = {links[without].begin, links[without].begin + 15};

		for (int back = 0; back < 2; back++) {
			count = make_links(links, 1000, back ? SIZE_MAX : without);
			table = replace(old, &area, links, count);
			assert_finds(table, links, count);
			assert_true(count_shared(old, table) + 2 >= old->count);
			vfb_table_free_replaced(old, patches, 1);
			old = table;
		}
	}
	vfb_table_free(old);
}

/* Added and removed one by one, at random: never many blocks with little in them. */
static void test_changes(void **state)
{
	static struct vfb_link links[MAX_LINKS];
	static bool present[1000];
	struct vfb_table *old = NULL, *table;

	(void)state;
	srandom(1);
	for (size_t step = 0; step < 20000; step++) {
		/* Up to 500 of 1,000 at first, and few in the end. */
		size_t i = random() % 1000, count = 0;
		struct vfb_area area = {32 + 32 * i, 32 + 32 * i + 15};

		present[i] = step < 10000 && !present[i];
		for (size_t n = 0; n < 1000; n++)
			if (present[n])
				links[count++] = (struct vfb_link){32 + 32 * n, {16, n, 3}};
		table = replace(old, &area, links, count);
		assert_true(table->count <= 4 + count / 12);
		if (count)
			assert_finds(table, links, count);
		if (old)
			vfb_table_free_replaced(old, patches, 1);
		old = count ? table : NULL;
		if (!count)
			vfb_table_free(table);
	}
	vfb_table_free(old);
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
