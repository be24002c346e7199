/* SPDX-License-Identifier: MIT */
/*
 * What a program has mapped against what the kernel has, while a slot is taken over: the model is
 * an array with what is mapped at each page.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/takeover/ledger.h"
#include "host.h"

#define PAGE  UINT64_C(4096)
#define PAGES 96
/* What the program maps that is not the slot's memory begins there. */
#define OTHER 1000L

/* What is mapped at each IOVA, by the kernel and as the program sees it: 1 + page; 0: nothing. */
static unsigned int in_kernel[PAGES], as_wanted[PAGES];
/* The beginnings of mappings of the kernel, which unmaps only whole ones. */
static bool begins[PAGES + 1];
static unsigned int calls, fail_at;

static int call_fails(void)
{
	return ++calls == fail_at ? -ENOMEM : 0;
}

static int put(uint64_t iova, uint64_t end, uint64_t first)
{
	size_t from = iova / PAGE, to = end / PAGE;
	int error = call_fails();

	if (error)
		return error;
	assert_true(from < to && to <= PAGES);
	for (size_t i = from; i < to; i++)
		if (in_kernel[i])
			return -EEXIST;
	for (size_t i = from; i < to; i++)
		in_kernel[i] = 1 + first + (i - from);
	begins[from] = begins[to] = true;
	return 0;
}

static int model_map(void *arg, uint64_t iova, uint64_t end)
{
	const struct ledger_request *request = arg;

	return put(iova, end, (request->offset + iova - request->iova) / PAGE);
}

static int model_unmap(uint64_t iova, uint64_t end, uint64_t *bytes)
{
	size_t from = iova / PAGE, to = end == UINT64_MAX ? PAGES : end / PAGE;
	int error = call_fails();

	if (error)
		return error;
	assert_true(to <= PAGES);
	/* Both ends are those of mappings, or of nothing. */
	assert_true(begins[from] || !in_kernel[from]);
	assert_true(begins[to] || to == PAGES || !in_kernel[to]);
	for (size_t i = from; i < to; i++) {
		*bytes += in_kernel[i] ? PAGE : 0;
		in_kernel[i] = 0;
		begins[i] = i == from && begins[i];
	}
	return 0;
}

static int model_map_piece(const struct ledger_piece *piece)
{
	return put(piece->iova, piece->end, piece->offset / PAGE);
}

static const struct ledger_ops model_ops = {
	.map = model_map,
	.unmap = model_unmap,
	.map_piece = model_map_piece,
};

/* Memory of 64 pages: 8 to 40 at its own address, in two pieces, and the rest from 64 on. */
static void begin(struct ledger *ledger)
{
	*ledger = (struct ledger){
		.ops = &model_ops,
		.pieces = {{8 * PAGE, 32 * PAGE, 8 * PAGE, 0},
			   {32 * PAGE, 40 * PAGE, 32 * PAGE, 0},
			   {64 * PAGE, 88 * PAGE, 40 * PAGE, 0}},
		.piece_count = 3,
		.dirty = true,
	};
	memset(in_kernel, 0, sizeof(in_kernel));
	memset(as_wanted, 0, sizeof(as_wanted));
	memset(begins, 0, sizeof(begins));
	fail_at = 0;
	for (size_t i = 0; i < ledger->piece_count; i++)
		assert_int_equal(model_map_piece(&ledger->pieces[i]), 0);
	calls = 0;
}

/* Maps @pages from @iova on; @first is the page of the memory, or from OTHER on another's. */
static int map(struct ledger *ledger, size_t iova, size_t pages, long first)
{
	struct ledger_request request = {
		.iova = iova * PAGE,
		.end = (iova + pages) * PAGE,
		.is_slot = first < OTHER,
		.offset = first * PAGE,
		.address = first < OTHER ? (100 + first) * PAGE : 0,
	};
	int error = ledger_map(ledger, &request, &request);

	for (size_t i = 0; !error && i < pages; i++)
		as_wanted[iova + i] = 1 + first + i;
	return error;
}

static void unmap(struct ledger *ledger, size_t iova, size_t pages)
{
	uint64_t bytes = 0, wanted = 0;

	for (size_t i = iova; i < iova + pages; i++) {
		wanted += as_wanted[i] ? PAGE : 0;
		as_wanted[i] = 0;
	}
	assert_int_equal(ledger_unmap(ledger, iova * PAGE, (iova + pages) * PAGE, &bytes), 0);
	assert_int_equal(bytes, wanted);
}

/* The kernel has what the program has mapped, and perhaps more that is hidden. */
static void check_wanted(void)
{
	for (size_t i = 0; i < PAGES; i++)
		if (as_wanted[i])
			assert_int_equal(in_kernel[i], as_wanted[i]);
}

static void check_same(void)
{
	assert_memory_equal(in_kernel, as_wanted, sizeof(in_kernel));
}

/* As QEMU: all of it, and again with a hole while firmware runs. */
static void test_vmm(void **state)
{
	struct ledger ledger;

	(void)state;
	begin(&ledger);
	assert_int_equal(map(&ledger, 0, 40, 0), 0);
	assert_int_equal(map(&ledger, 64, 24, 40), 0);
	/* The first pages only. */
	assert_int_equal(calls, 1);
	assert_int_equal(ledger_reconcile(&ledger), 0);
	assert_int_equal(calls, 1);
	check_same();
	/* Unmapped and mapped again: nothing but the first pages is done. */
	assert_false(ledger.dirty);
	unmap(&ledger, 0, 40);
	assert_true(ledger.dirty);
	assert_int_equal(map(&ledger, 0, 40, 0), 0);
	assert_int_equal(ledger_reconcile(&ledger), 0);
	assert_false(ledger.dirty);
	assert_int_equal(calls, 3);
	check_same();
	/* Without the second piece: it is unmapped, the first one stays. */
	unmap(&ledger, 0, 40);
	assert_int_equal(map(&ledger, 0, 32, 0), 0);
	check_wanted();
	assert_int_not_equal(in_kernel[32], 0);
	calls = 0;
	assert_int_equal(ledger_reconcile(&ledger), 0);
	assert_int_equal(calls, 1);
	check_same();
	assert_int_equal(map(&ledger, 32, 8, 32), 0);
	check_same();
}

static void test_a_part_of_a_piece(void **state)
{
	struct ledger ledger;

	(void)state;
	begin(&ledger);
	assert_int_equal(map(&ledger, 10, 5, 10), 0);
	assert_int_equal(map(&ledger, 20, 4, 20), 0);
	check_wanted();
	assert_int_equal(ledger_reconcile(&ledger), 0);
	check_same();
	unmap(&ledger, 20, 4);
	assert_int_equal(ledger_reconcile(&ledger), 0);
	check_same();
}

/* Something else where the slot has its memory, or the memory at another IOVA. */
static void test_something_else(void **state)
{
	struct ledger ledger;

	(void)state;
	begin(&ledger);
	assert_int_equal(map(&ledger, 34, 2, OTHER), 0);
	check_wanted();
	assert_int_equal(map(&ledger, 64, 24, 0), 0);
	check_wanted();
	assert_int_equal(map(&ledger, 30, 6, 30), -EEXIST);
	assert_int_equal(ledger_reconcile(&ledger), 0);
	check_same();
}

/* What a program does that knows nothing of pieces, at random, with failures of each call. */
static void test_random(void **state)
{
	struct ledger ledger;

	(void)state;
	srandom(20);
	for (unsigned int round = 0; round < 3000; round++) {
		struct {
			size_t iova, pages;
		} mapped[16];
		size_t count = 0;

		begin(&ledger);
		for (unsigned int step = 0; step < 24; step++) {
			size_t iova = random() % PAGES, pages = 1 + random() % 48;
			long first;
			bool is_free = true;

			if (count && (count == 16 || random() % 2)) {
				size_t i = random() % count;

				unmap(&ledger, mapped[i].iova, mapped[i].pages);
				mapped[i] = mapped[--count];
			} else {
				if (iova + pages > PAGES)
					pages = PAGES - iova;
				for (size_t i = iova; i < iova + pages; i++)
					is_free &= !as_wanted[i];
				first = random() % 4 ? (long)iova - (iova < 64 ? 0 : 24) :
						       OTHER + random() % 100;
				/* Where no piece has to give way, which would be lost then. */
				if (first < OTHER && (iova >= 64 || iova + pages <= 64))
					fail_at = random() % 4 ? 0 : calls + 1 + random() % 3;
				if (is_free) {
					int error = map(&ledger, iova, pages, first);

					assert_true(!error || error == -ENOMEM);
					if (!error) {
						mapped[count].iova = iova;
						mapped[count++].pages = pages;
					}
				}
				fail_at = 0;
			}
			check_wanted();
			if (random() % 3)
				continue;
			assert_int_equal(ledger_reconcile(&ledger), 0);
			check_same();
		}
		unmap(&ledger, 0, PAGES);
		assert_int_equal(ledger_reconcile(&ledger), 0);
		check_same();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vmm),
		cmocka_unit_test(test_a_part_of_a_piece),
		cmocka_unit_test(test_something_else),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
