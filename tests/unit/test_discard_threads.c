/* SPDX-License-Identifier: MIT */
/*
 * Threads that discard and restore parts of one memory, map and unmap it, look it up, and create
 * and destroy spaces with it, all at the same time. The fake kernel reports pages that are returned
 * while a device reaches them.
 */
#include "host.h"

#define IOVA   (4 * GIB)
#define BLOCK  (2 * MIB)
#define BLOCKS 16
#define ROUNDS 60

struct party {
	struct host *host;
	struct vfb_memory *memory;
	struct vfb_range range;
};

/* The work of one thread. */
struct member {
	struct party *party;
	struct drand48_data random;
	void (*round)(struct member *member);
};

static unsigned int any(struct member *member, unsigned int limit)
{
	long value;

	lrand48_r(&member->random, &value);
	return value % limit;
}

/* A failure of cmocka would not be reported from another thread. It may meet one. */
static void may_be_busy(int error)
{
	if (!error || error == -EBUSY)
		return;
	fprintf(stderr, "%d: %s\n", error, vfb_last_error());
	abort();
}

/* The clock of the fake kernel waits for threads that run. */
static void pause_thread(const struct member *member)
{
	const struct vfb_sys *sys = member->party->host->sys;

	sys->sleep(sys, 1000);
}

static void discard_round(struct member *member)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	const struct vfb_batch_opts *given = any(member, 2) ? &opts : NULL;
	unsigned int first = any(member, BLOCKS), count = 1 + any(member, BLOCKS - first);
	struct vfb_memory_range part = {.offset = first * BLOCK, .bytes = count * BLOCK};
	int error = any(member, 2) ? vfb_memory_discard(member->party->memory, &part, 1, given) :
				     vfb_memory_restore(member->party->memory, &part, 1, given);

	may_be_busy(error);
}

static void map_round(struct member *member)
{
	struct vfb_range range = {.memory = member->party->memory,
				  .offset = any(member, BLOCKS / 2) * BLOCK,
				  .bytes = BLOCK * BLOCKS / 2,
				  .flags = VFB_RANGE_ANY_IOVA};
	int error = vfb_space_map(member->party->host->space, &range, 1, NULL);

	may_be_busy(error);
	/* A discard may have claimed it. */
	while (!error && (error = vfb_space_unmap(member->party->host->space, &range, 1, NULL))) {
		may_be_busy(error);
		error = 0;
		pause_thread(member);
	}
}

static void translate_round(struct member *member)
{
	struct vfb_translation piece;
	uint64_t iova = IOVA + any(member, BLOCKS) * BLOCK;

	if (vfb_space_translate(member->party->host->space, iova, BLOCK, &piece, 1) == 1 &&
	    piece.iova != iova)
		abort();
}

static void space_round(struct member *member)
{
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = VFB_BACKEND_NONE,
				      .block_bytes = BLOCK};
	struct vfb_range range = member->party->range;
	struct vfb_space *space;

	may_be_busy(vfb_space_create(member->party->host->ctx, &opts, &space));
	may_be_busy(vfb_space_map(space, &range, 1, NULL));
	while (vfb_space_destroy(space))
		pause_thread(member);
}

static void *run_member(void *arg)
{
	struct member *member = arg;

	for (int i = 0; i < ROUNDS; i++)
		member->round(member);
	return NULL;
}

static void run(enum vfb_backend backend)
{
	static void (*const rounds[])(struct member * member) = {discard_round, discard_round,
								 map_round, translate_round,
								 space_round};
	struct vfb_memory_range all = {.bytes = BLOCKS * BLOCK};
	struct member members[ARRAY_SIZE(rounds)];
	pthread_t threads[ARRAY_SIZE(rounds)];
	struct vfb_device *device;
	struct host host;
	struct party party = {.host = &host};
	struct vfb_space_opts opts = {.size = sizeof(opts),
				      .backend = backend,
				      .block_bytes = BLOCK};

	host_open(&host, NULL);
	add_devices(host.fake, 1);
	assert_ok(vfb_space_create(host.ctx, &opts, &host.space));
	open_devices(&host, 1, &device);
	party.memory = make_memory(&host, BLOCKS * BLOCK, VFB_PAGE_4K);
	party.range =
		(struct vfb_range){.memory = party.memory, .bytes = BLOCKS * BLOCK, .iova = IOVA};
	assert_ok(vfb_space_map(host.space, &party.range, 1, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(rounds); i++) {
		members[i] = (struct member){.party = &party, .round = rounds[i]};
		srand48_r(i, &members[i].random);
		assert_int_equal(host.sys->thread_create(host.sys, "member", NULL, run_member,
							 &members[i], &threads[i]),
				 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(rounds); i++)
		host.sys->thread_join(host.sys, threads[i]);
	assert_ok(vfb_memory_restore(party.memory, &all, 1, NULL));
	assert_mapped(&host, &party.range);
	assert_int_equal(info_of(host.space).mappings, 1);
	assert_int_equal(info_of(host.space).mapped_bytes, BLOCKS * BLOCK);
	assert_ok(vfb_space_unmap(host.space, &party.range, 1, NULL));
	host_end(&host, device, party.memory);
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

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_type1),
		cmocka_unit_test(test_iommufd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
