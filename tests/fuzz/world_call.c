/* SPDX-License-Identifier: MIT */
/* The calls that fuzz_api chooses from. */
#include "world_calls.h"

/* ---- Creating and destroying ---- */

static void create_space(struct world *world, struct input *input)
{
	union big big = {0};
	struct vfb_space_opts *opts = (void *)&big;
	struct vfb_space *space;

	choose_size(input, &big, sizeof(*opts));
	opts->backend = input_below(input, 5);
	opts->map_by = input_below(input, 3);
	opts->flags = input_below(input, 3);
	opts->page_size = input_below(input, 6);
	if (input_chance(input, 2))
		opts->block_bytes = choose_number(input);
	if (!vfb_space_create(world->ctx, opts, &space) && !world_put(world, WORLD_SPACE, space))
		vfb_space_destroy(space);
}

static void create_memory(struct world *world, struct input *input)
{
	static const unsigned int nodes[] = {0, 1, 0};
	union big big = {0};
	struct vfb_memory_opts *opts = (void *)&big;
	struct vfb_memory *memory;

	choose_size(input, &big, sizeof(*opts));
	opts->bytes = choose_number(input);
	opts->page_size = input_below(input, 7);
	opts->kind = input_below(input, 3);
	opts->policy = input_below(input, 6);
	if (opts->policy && !input_chance(input, 8)) {
		opts->nodes = nodes;
		opts->node_count = input_below(input, 4);
	}
	opts->flags = input_below(input, 4);
	/* Not more than this machine has. */
	if (opts->bytes > 64 * FAKE_MIB && opts->bytes < UINT64_C(1) << 40)
		opts->bytes = 8 * FAKE_MIB;
	if (!vfb_memory_create(world->ctx, opts, &memory) &&
	    !world_put(world, WORLD_MEMORY, memory))
		vfb_memory_destroy(memory);
}

static void destroy_space(struct world *world, struct input *input)
{
	struct vfb_space *space = world_take(world, WORLD_SPACE, input_u8(input));

	if (space && vfb_space_destroy(space) && !world_put(world, WORLD_SPACE, space))
		abort();
}

static void destroy_memory(struct world *world, struct input *input)
{
	struct vfb_memory *memory = world_take(world, WORLD_MEMORY, input_u8(input));

	while (memory && vfb_memory_destroy(memory) && !world_put(world, WORLD_MEMORY, memory))
		vfb_job_destroy(NULL);
}

/* ---- Mapping ---- */

static void map(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = create_job();
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	size_t count = choose_count(input);
	bool start = input_chance(input, 2);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);
	int error = -EINVAL;

	fill_ranges(world, input, job);
	if (space && input_chance(input, 8))
		vfb_space_map_plan(space, job->ranges, count, opts, &plan);
	if (space && start)
		error = vfb_space_map_start(space, job->ranges, count, opts, &job->job);
	else if (space)
		vfb_space_map(space, job->ranges, count, opts);
	settle_job(world, job, error);
	world_give_back(world, WORLD_SPACE, space);
}

static void unmap(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = create_job();
	size_t count = choose_count(input);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);
	unsigned int way = input_below(input, 4);
	int error = -EINVAL;

	fill_ranges(world, input, job);
	if (space && way == 0)
		error = vfb_space_unmap_start(space, job->ranges, count, opts, &job->job);
	else if (space && way == 1)
		vfb_space_unmap_all(space);
	else if (space)
		vfb_space_unmap(space, job->ranges, count, opts);
	settle_job(world, job, error);
	world_give_back(world, WORLD_SPACE, space);
}

static void look_at_space(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct vfb_translation pieces[2];
	struct vfb_iova_range ranges[2];
	union big big = {0};
	uint64_t iova = choose_number(input), bytes = choose_number(input);

	choose_size(input, &big, sizeof(struct vfb_space_info));
	if (space) {
		vfb_space_info(space, (void *)&big);
		vfb_space_translate(space, iova, bytes, pieces, input_below(input, 3));
		vfb_space_translate_address(space, (void *)(uintptr_t)iova, bytes, pieces, 2);
		vfb_space_iova_ranges(space, ranges, input_below(input, 3));
	}
	world_give_back(world, WORLD_SPACE, space);
}

static void map_on_demand(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	uint64_t iova = choose_number(input), bytes = choose_number(input);
	unsigned int way = input_below(input, 5);
	union big big = {0};

	choose_size(input, &big, sizeof(struct vfb_on_demand_info));
	if (space && way == 0)
		vfb_space_touch(space, iova, bytes);
	else if (space && way == 1)
		vfb_space_hold(space, iova, bytes);
	else if (space && way == 2)
		vfb_space_unhold(space, iova, bytes);
	else if (space && way == 3)
		vfb_space_trim(space, bytes);
	else if (space)
		vfb_space_on_demand_info(space, (void *)&big);
	world_give_back(world, WORLD_SPACE, space);
}

static void discard(struct world *world, struct input *input)
{
	struct vfb_memory *memory = world_borrow(world, WORLD_MEMORY, input_u8(input));
	struct vfb_memory_range parts[3];
	size_t count = input_below(input, 4);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);
	bool restores = input_chance(input, 2);

	for (size_t i = 0; i < count; i++)
		parts[i] = (struct vfb_memory_range){choose_number(input), choose_number(input), 0,
						     input_chance(input, 32)};
	if (memory && restores)
		vfb_memory_restore(memory, parts, count, opts);
	else if (memory)
		vfb_memory_discard(memory, parts, count, opts);
	world_give_back(world, WORLD_MEMORY, memory);
}

static void look_at_memory(struct world *world, struct input *input)
{
	struct vfb_memory *memory = world_borrow(world, WORLD_MEMORY, input_u8(input));
	struct vfb_placement placement = VFB_PLACEMENT_INIT;
	struct vfb_contiguity contiguity = VFB_CONTIGUITY_INIT;
	union big big = {0};
	uint64_t nodes[FAKE_NODES], huge;

	choose_size(input, &big, sizeof(struct vfb_memory_info));
	if (memory) {
		vfb_memory_info(memory, (void *)&big);
		vfb_memory_nodes(memory, nodes, input_below(input, FAKE_NODES));
		vfb_memory_placement(memory, &placement);
		vfb_memory_huge(memory, &huge);
		vfb_memory_contiguity(memory, choose_number(input), choose_number(input),
				      &contiguity);
	}
	world_give_back(world, WORLD_MEMORY, memory);
}

static void populate(struct world *world, struct input *input)
{
	struct world_job *job = create_job();
	int error;

	fill_ranges(world, input, job);
	if (job->memories[0] && input_chance(input, 2))
		vfb_memory_populate(job->memories[0]);
	error = vfb_memory_populate_start(job->memories, choose_count(input), &job->job);
	settle_job(world, job, error);
}

/* ---- Jobs ---- */

static void use_job(struct world *world, struct input *input)
{
	struct world_job *job = world_borrow(world, WORLD_JOB, input_u8(input));
	union big big = {0};
	unsigned int way = input_below(input, 6);

	choose_size(input, &big, sizeof(struct vfb_job_progress));
	if (job && way == 0)
		vfb_job_cancel(job->job);
	else if (job && way == 1)
		vfb_job_wait_ready(job->job, choose_timeout(input));
	else if (job && way == 2)
		vfb_job_wait_entry(job->job, choose_number(input), choose_timeout(input));
	else if (job && way == 3)
		vfb_job_progress(job->job, (void *)&big);
	else if (job)
		vfb_job_wait(job->job, choose_timeout(input));
	world_give_back(world, WORLD_JOB, job);
}

static void destroy_job(struct world *world, struct input *input)
{
	world_job_end(world, world_take(world, WORLD_JOB, input_u8(input)));
}

/* ---- Events ---- */

static void subscribe(struct world *world, struct input *input)
{
	union big big = {0};
	struct vfb_filter *filter = (void *)&big;
	struct vfb_subscription *subscription;
	struct vfb_stats *stats;

	choose_size(input, &big, sizeof(*filter));
	filter->phases = input_chance(input, 2) ? 0 : input_u32(input);
	filter->min_bytes = input_chance(input, 4) ? choose_number(input) : 0;
	if (!vfb_subscribe(world->ctx, filter, world_callback, world, &subscription) &&
	    !world_put(world, WORLD_SUBSCRIPTION, subscription))
		vfb_unsubscribe(subscription);
	if (input_chance(input, 4) && !vfb_stats_create(world->ctx, filter, &stats) &&
	    !world_put(world, WORLD_STATS, stats))
		vfb_stats_destroy(stats);
}

static void unsubscribe(struct world *world, struct input *input)
{
	vfb_unsubscribe(world_take(world, WORLD_SUBSCRIPTION, input_u8(input)));
	if (input_chance(input, 4))
		vfb_stats_destroy(world_take(world, WORLD_STATS, input_u8(input)));
}

static void read_stats(struct world *world, struct input *input)
{
	struct vfb_stats *stats = world_borrow(world, WORLD_STATS, input_u8(input));
	struct vfb_stats_entry entries[3];
	char *text;

	if (stats) {
		vfb_stats_read(stats, input_below(input, 4), entries, input_below(input, 4));
		if (!vfb_stats_openmetrics(stats, &text))
			free(text);
		if (input_chance(input, 4))
			vfb_stats_reset(stats);
	}
	world_give_back(world, WORLD_STATS, stats);
}

/* ---- The rest ---- */

static void use_context(struct world *world, struct input *input)
{
	char addresses[2][VFB_PCI_ADDRESS_BYTES];
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	const char *address = world_addresses[input_below(input, WORLD_ADDRESSES)];
	uint64_t rate = choose_number(input);

	vfb_pci_info(world->ctx, address, &info);
	vfb_pci_list(world->ctx, addresses, input_below(input, 3));
	vfb_pci_reset_set(world->ctx, address, addresses, input_below(input, 3));
	vfb_ctx_set_populate_rate(world->ctx, rate < FAKE_GIB ? UINT64_MAX : rate);
	vfb_span_end(vfb_span_begin(world->ctx, "fuzz"), 0);
}

static void diagnose(struct world *world, struct input *input)
{
	const char *devices[] = {world_addresses[input_below(input, WORLD_ADDRESSES)], NULL};
	union big big = {0};
	struct vfb_doctor_opts *opts = (void *)&big;
	struct vfb_diagnosis *diagnosis;

	choose_size(input, &big, sizeof(*opts));
	opts->bytes = input_below(input, 8) * FAKE_MIB;
	opts->page_size = input_below(input, 7);
	opts->devices = devices;
	opts->device_count = input_below(input, 3);
	if (!vfb_doctor_run(world->ctx, opts, &diagnosis))
		vfb_diagnosis_destroy(diagnosis);
}

static void inject_failure(struct world *world, struct input *input)
{
	static const int errors[] = {0, ENOMEM, EINVAL, EBUSY, EIO, EINTR, EAGAIN, ENOSPC, EFAULT};

	if (input_chance(input, 4))
		fake_fail_none(world->fake);
	else if (input_chance(input, 4))
		alloc_fail_nth(1 + input_below(input, 16));
	else
		fake_fail_nth(world->fake, 1 + input_below(input, 32),
			      errors[input_below(input, 9)]);
}

void world_call(struct world *world, struct input *input)
{
	static void (*const calls[])(struct world * world, struct input * input) = {
		create_space,
		create_space,
		create_memory,
		create_memory,
		destroy_space,
		destroy_memory,
		map,
		map,
		map,
		map,
		unmap,
		unmap,
		look_at_space,
		populate,
		world_open_devices,
		world_open_devices,
		world_open_devices,
		world_close_devices,
		world_reset_devices,
		world_map_bars,
		world_map_bars,
		world_use_regions,
		world_use_interrupts,
		use_job,
		use_job,
		destroy_job,
		destroy_job,
		subscribe,
		unsubscribe,
		read_stats,
		use_context,
		diagnose,
		inject_failure,
		world_adopt_memory,
		world_adopt_memory,
		world_adopt_space,
		world_adopt_space,
		world_hand_over,
		world_bind,
		world_start_reaper,
		world_use_trace,
		world_shut_down,
		look_at_memory,
		discard,
		map_on_demand,
		map_on_demand,
	};

	calls[input_below(input, sizeof(calls) / sizeof(calls[0]))](world, input);
}
