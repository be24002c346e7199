/* SPDX-License-Identifier: MIT */
/*
 * Threads that hold, touch, trim and discard windows of one range at the same time. While a window
 * is held, the device reaches it.
 */
#include "host.h"

#define IOVA	(4 * GIB)
#define WINDOW	(64 * KIB)
#define WINDOWS 16
#define ROUNDS	200
#define THREADS 6

struct party {
	struct host host;
	struct vfb_memory *memory;
	/* Holds that have met a discard. */
	atomic_uint failures;
};

struct member {
	struct party *party;
	struct drand48_data random;
	unsigned int number;
};

static unsigned int any(struct member *member, unsigned int limit)
{
	long value;

	lrand48_r(&member->random, &value);
	return value % limit;
}

static void may_fail(int error, int allowed, int also)
{
	if (!error || error == allowed || error == also)
		return;
	fprintf(stderr, "%d: %s\n", error, vfb_last_error());
	abort();
}

static void use_window(struct member *member)
{
	struct party *party = member->party;
	uint64_t iova = IOVA + any(member, WINDOWS - 1) * WINDOW;
	int error = vfb_space_hold(party->host.space, iova, 2 * WINDOW);

	may_fail(error, -EBUSY, -ENOENT);
	if (error) {
		atomic_fetch_add(&party->failures, 1);
		return;
	}
	if (!fake_dma_write(party->host.fake, addresses[0], iova, "dma", 4) ||
	    !fake_dma_write(party->host.fake, addresses[0], iova + WINDOW, "dma", 4))
		abort();
	may_fail(vfb_space_unhold(party->host.space, iova, 2 * WINDOW), 0, 0);
}

static void *run_member(void *arg)
{
	struct member *member = arg;
	struct party *party = member->party;

	for (int i = 0; i < ROUNDS; i++) {
		struct vfb_memory_range part = {.offset = any(member, WINDOWS) * WINDOW,
						.bytes = WINDOW};

		if (member->number == 0) {
			may_fail(vfb_space_trim(party->host.space, any(member, 4) * WINDOW), -EBUSY,
				 0);
		} else if (member->number == 1 && i % 8 == 0) {
			int error = vfb_memory_discard(party->memory, &part, 1, NULL);

			may_fail(error, -EBUSY, 0);
			while (!error && vfb_memory_restore(party->memory, &part, 1, NULL))
				party->host.sys->sleep(party->host.sys, 1000);
		} else {
			use_window(member);
		}
	}
	return NULL;
}

static void run(enum vfb_backend backend)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = backend,
				      .on_demand = VFB_ON_DEMAND_TOUCH};
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;
	struct vfb_range range = {.bytes = WINDOWS * WINDOW,
				  .iova = IOVA,
				  .flags = VFB_RANGE_ON_DEMAND,
				  .window_bytes = WINDOW};
	struct member members[THREADS];
	pthread_t threads[THREADS];
	struct party party = {0};
	struct vfb_device *device;

	host_open(&party.host, NULL);
	add_devices(party.host.fake, 1);
	assert_ok(vfb_space_create(party.host.ctx, &opts, &party.host.space));
	open_devices(&party.host, 1, &device);
	range.memory = party.memory = make_memory(&party.host, WINDOWS * WINDOW, VFB_PAGE_4K);
	assert_ok(vfb_space_map(party.host.space, &range, 1, NULL));
	for (unsigned int i = 0; i < THREADS; i++) {
		members[i] = (struct member){.party = &party, .number = i};
		srand48_r(i, &members[i].random);
		assert_int_equal(party.host.sys->thread_create(party.host.sys, "member", NULL,
							       run_member, &members[i],
							       &threads[i]),
				 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		party.host.sys->thread_join(party.host.sys, threads[i]);
	assert_ok(vfb_space_on_demand_info(party.host.space, &info));
	assert_int_equal(info.mapped_bytes, info_of(party.host.space).mapped_bytes);
	assert_int_equal(info.mapped_bytes, stats_of(&party.host).pinned_bytes);
	/* Nobody holds any of it. */
	assert_ok(vfb_space_trim(party.host.space, 0));
	assert_int_equal(stats_of(&party.host).pinned_bytes, 0);
	assert_ok(vfb_space_touch(party.host.space, IOVA, WINDOWS * WINDOW));
	assert_mapped(&party.host, &range);
	assert_ok(vfb_space_unmap(party.host.space, &range, 1, NULL));
	host_end(&party.host, device, party.memory);
}

static void test_type1(void **state)
{
	(void)state;
	run(VFB_BACKEND_TYPE1);
}

static void test_iommufd(void **state)
{
	(void)state;
	run(VFB_BACKEND_IOMMUFD);
}

struct meeting {
	struct host *host;
	int error;
};

static void *touch_window(void *arg)
{
	struct meeting *meeting = arg;

	meeting->error = vfb_space_touch(meeting->host->space, IOVA, 1);
	return NULL;
}

/* One thread maps a window while the others wait for it. */
static void test_one_window(void **state)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_IOMMUFD,
				      .on_demand = VFB_ON_DEMAND_TOUCH};
	struct vfb_on_demand_info info = VFB_ON_DEMAND_INFO_INIT;
	struct vfb_range range = {.bytes = 4 * MIB, .iova = IOVA, .flags = VFB_RANGE_ON_DEMAND};
	struct meeting meetings[16];
	pthread_t threads[16];
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	open_devices(&host, 1, &device);
	range.memory = make_memory(&host, 4 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		meetings[i].host = &host;
		assert_int_equal(host.sys->thread_create(host.sys, "meeting", NULL, touch_window,
							 &meetings[i], &threads[i]),
				 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		host.sys->thread_join(host.sys, threads[i]);
		assert_int_equal(meetings[i].error, 0);
	}
	assert_ok(vfb_space_on_demand_info(host.space, &info));
	assert_int_equal(info.touches, 16);
	assert_int_equal(info.mapped, 1);
	/* On the virtual clock mapping takes time, in which all others come. */
	assert_true(info.coalesced >= 1 && info.coalesced <= 15);
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	host_end(&host, device, range.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_type1),
		cmocka_unit_test(test_iommufd),
		cmocka_unit_test(test_one_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
