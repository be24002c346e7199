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
	sweep(&(struct guest_variant){.backend = VFB_BACKEND_SPAPR});
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

static void count_event(const struct vfb_event *event, void *data)
{
	assert_int_equal(fake_locks_held(), 0);
	(void)event;
	++*(unsigned int *)data;
}

/* A space with a domain that cannot be adopted for want of memory leaves nothing. */
static void test_adopting(void **state)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	struct vfb_device *device;
	int error = -ENOMEM;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_IOMMUFD, 1, &device);
	assert_ok(vfb_space_info(host.space, &info));
	for (unsigned int n = 1; error; n++) {
		struct vfb_space *adopted;

		alloc_fail_from(n);
		error = vfb_space_adopt(host.ctx, info.fd, info.ioas, NULL, &adopted);
		alloc_fail_nth(0);
		if (error)
			assert_int_equal(error, -ENOMEM);
		else
			assert_ok(vfb_space_destroy(adopted));
	}
	host_end(&host, device, NULL);
}

/* Maps, holds and trims windows; everything is undone. */
static int use_on_demand(struct host *host, struct vfb_memory *memory)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_NONE,
				      .on_demand = VFB_ON_DEMAND_TOUCH};
	struct vfb_range range = {.memory = memory,
				  .bytes = 4 * MIB,
				  .iova = GIB,
				  .flags = VFB_RANGE_ON_DEMAND,
				  .window_bytes = 64 * KIB};
	struct vfb_space *space;
	int error = vfb_space_create(host->ctx, &opts, &space);

	if (error)
		return error;
	error = vfb_space_map(space, &range, 1, NULL);
	if (!error)
		error = vfb_space_hold(space, GIB + 4096, MIB);
	if (!error)
		assert_ok(vfb_space_unhold(space, GIB + 4096, MIB));
	if (!error)
		error = vfb_space_trim(space, 0);
	if (!error)
		error = vfb_space_unmap(space, &range, 1, NULL);
	assert_ok(vfb_space_destroy(space));
	return error;
}

static void test_on_demand(void **state)
{
	struct vfb_memory *memory;
	int error = -ENOMEM;
	unsigned int n = 0;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 4 * MIB, VFB_PAGE_4K);
	while (error) {
		alloc_fail_from(++n);
		error = use_on_demand(&host, memory);
		alloc_fail_nth(0);
		if (error)
			assert_int_equal(error, -ENOMEM);
	}
	assert_true(n > 20);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* A fault for which there is no memory is denied; each of its allocations fails in turn. */
static void test_faults(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_IOMMUFD,
				      .on_demand = VFB_ON_DEMAND_FAULT,
				      .fault_threads = 1};
	struct vfb_range range = {.bytes = 4 * MIB,
				  .iova = GIB,
				  .flags = VFB_RANGE_ON_DEMAND,
				  .window_bytes = 64 * KIB};
	enum fake_page_answer answer = FAKE_PAGES_INVALID;
	struct vfb_device *device;
	unsigned int n = 0;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_faulting_device(host.fake, NULL);
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	open_devices(&host, 1, &device);
	range.memory = make_memory(&host, 4 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	while (answer == FAKE_PAGES_INVALID) {
		const struct fake_page_request pages[] = {{GIB, 3}, {GIB + 2 * MIB, 3}};
		unsigned int group;

		alloc_fail_from(++n);
		group = fake_request_pages(host.fake, addresses[0], pages, 2);
		answer = fake_page_answer(host.fake, group, 60000 * MS);
		alloc_fail_nth(0);
		assert_int_not_equal(answer, FAKE_PAGES_PENDING);
	}
	assert_true(n > 5);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	host_end(&host, device, range.memory);
}

/* Ending a subscription needs no memory, and is in time. */
static void test_unsubscribe(void **state)
{
	for (unsigned int n = 1; n < 3; n++) {
		struct vfb_subscription *first, *second, *third;
		unsigned int counts[3] = {0};
		struct host host;

		(void)state;
		host_open(&host, NULL);
		assert_ok(vfb_subscribe(host.ctx, NULL, count_event, &counts[0], &first));
		assert_ok(vfb_subscribe(host.ctx, NULL, count_event, &counts[1], &second));
		alloc_fail_from(n);
		vfb_unsubscribe(first);
		alloc_fail_nth(0);
		vfb_span_end(vfb_span_begin(host.ctx, "span"), 0);
		assert_int_equal(counts[0], 0);
		assert_int_equal(counts[1], 1);
		assert_ok(vfb_subscribe(host.ctx, NULL, count_event, &counts[2], &third));
		vfb_unsubscribe(second);
		vfb_span_end(vfb_span_begin(host.ctx, "span"), 0);
		assert_int_equal(counts[0], 0);
		assert_int_equal(counts[1], 1);
		assert_int_equal(counts[2], 1);
		alloc_fail_from(n);
		vfb_unsubscribe(third);
		alloc_fail_nth(0);
		assert_null(vfb_span_begin(host.ctx, "nobody wants it"));
		host_close(&host);
	}
}

static void check_translations(struct host *host, const struct vfb_range *ranges, size_t gone)
{
	struct vfb_translation pieces[4];

	for (size_t i = 0; i < 3; i++) {
		char *address = address_of(ranges[i].memory) + ranges[i].offset;
		int found = vfb_space_translate(host->space, ranges[i].iova, MIB, pieces, 4);

		assert_int_equal(found, i == gone ? -ENOENT : 1);
		found = vfb_space_translate_address(host->space, address, MIB, pieces, 4);
		assert_int_equal(found, i == gone ? -ENOENT : 1);
		if (i == gone)
			continue;
		assert_true(pieces[0].address == address);
		assert_true(pieces[0].iova == ranges[i].iova && pieces[0].bytes == MIB);
	}
	/* Neighbours are one piece. */
	assert_int_equal(vfb_space_translate(host->space, 4096, MIB, pieces, 4), 1);
	assert_true(pieces[0].bytes == MIB);
}

/* What is unmapped cannot be found, all else can, with memory for a new table or without. */
static void test_translations(void **state)
{
	unsigned int n = 1, calls;

	(void)state;
	do {
		struct vfb_memory *memory;
		struct vfb_range ranges[3] = {{0}};
		struct host host;
		int error;

		host_open(&host, NULL);
		host_space(&host, VFB_BACKEND_NONE);
		memory = make_memory(&host, 4 * MIB, VFB_PAGE_4K);
		for (size_t i = 0; i < 3; i++)
			ranges[i] = (struct vfb_range){.memory = memory,
						       .offset = i * MIB,
						       .bytes = MIB,
						       .iova = i * MIB};
		assert_ok(vfb_space_map(host.space, ranges, 3, NULL));
		check_translations(&host, ranges, 3);
		alloc_fail_from(n);
		error = vfb_space_unmap(host.space, &ranges[2], 1, NULL);
		calls = alloc_calls();
		alloc_fail_nth(0);
		check_translations(&host, ranges, error ? 3 : 2);
		if (error)
			assert_ok(vfb_space_unmap(host.space, &ranges[2], 1, NULL));
		assert_ok(vfb_space_map(host.space, &ranges[2], 1, NULL));
		check_translations(&host, ranges, 3);
		assert_ok(vfb_space_unmap(host.space, ranges, 3, NULL));
		assert_ok(vfb_space_destroy(host.space));
		host.space = NULL;
		assert_ok(vfb_memory_destroy(memory));
		host_close(&host);
	} while (calls >= n++);
	assert_true(n > 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_demand),   cmocka_unit_test(test_unsubscribe),
		cmocka_unit_test(test_faults),	    cmocka_unit_test(test_translations),
		cmocka_unit_test(test_in_turn),	    cmocka_unit_test(test_overlapped),
		cmocka_unit_test(test_best_effort), cmocka_unit_test(test_adopting),
	};

	return cmocka_run_group_tests_name("allocations", tests, NULL, NULL);
}
