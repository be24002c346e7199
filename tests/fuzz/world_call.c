/* SPDX-License-Identifier: MIT */
/* The calls that fuzz_api chooses from. */
#include "world.h"

/* ---- Arguments ---- */

/* Mostly the struct's own size; what is not is a page of the caller's that has to be enough. */
union big {
	size_t size;
	unsigned char bytes[8192];
};

static void choose_size(struct input *input, union big *big, size_t bytes)
{
	static const size_t sizes[] = {0, 1, 7, 8, 9, 64, 4095, 4096, 8192};
	unsigned int choice = input_u8(input);

	big->size = bytes;
	if (choice >= 240) {
		big->size = sizes[choice % 9];
		if (choice == 255)
			big->bytes[bytes] = 1;
	}
}

static uint64_t choose_timeout(struct input *input)
{
	static const uint64_t timeouts[] = {0, 1, FAKE_MS, 50 * FAKE_MS, UINT64_MAX, UINT64_MAX};

	return timeouts[input_below(input, 6)];
}

static const struct vfb_batch_opts *choose_batch(struct input *input, union big *big)
{
	struct vfb_batch_opts *opts = (void *)big;

	if (input_chance(input, 2))
		return NULL;
	memset(big, 0, sizeof(*big));
	choose_size(input, big, sizeof(*opts));
	opts->width = input_below(input, 3);
	opts->flags = input_u8(input) & (input_chance(input, 16) ? 7 : 3);
	if (input_chance(input, 4))
		opts->timeout_ns = choose_timeout(input);
	return opts;
}

static uint64_t choose_number(struct input *input)
{
	switch (input_below(input, 16)) {
	case 0:
		return input_u64(input);
	case 1:
		return UINT64_MAX - input_u8(input);
	case 2:
		return input_u8(input);
	default:
		return (uint64_t)input_below(input, 64) * 64 * FAKE_KIB;
	}
}

static size_t choose_count(struct input *input)
{
	static const size_t wrong[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 40};

	if (input_below(input, 64) == 63)
		return wrong[input_below(input, 3)];
	return input_below(input, WORLD_ENTRIES + 1);
}

static void fill_ranges(struct world *world, struct input *input, struct world_job *job)
{
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		struct vfb_range *range = &job->ranges[i];

		/* Borrowed until the call is over: the library refuses to destroy what is used. */
		job->memories[i] = world_borrow(world, WORLD_MEMORY, input_u8(input));
		range->memory = job->memories[i];
		range->offset = input_chance(input, 2) ? 0 : choose_number(input);
		range->bytes = choose_number(input);
		range->iova = choose_number(input);
		range->flags = input_u8(input) & (input_chance(input, 16) ? 0xff : 0xf);
		range->priority = input_below(input, 3);
		range->reserved[0] = input_below(input, 64) == 63;
	}
}

static void fill_devices(struct world *world, struct input *input, struct world_job *job)
{
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++)
		job->devices[i] = world_borrow(world, WORLD_DEVICE, input_u8(input));
}

static struct world_job *create_job(void)
{
	struct world_job *job = calloc(1, sizeof(*job));

	if (!job)
		abort();
	return job;
}

/* Gives back what the job borrowed; keeps it if it has been started. */
static void settle_job(struct world *world, struct world_job *job, int error)
{
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		world_give_back(world, WORLD_MEMORY, job->memories[i]);
		world_give_back(world, WORLD_DEVICE, job->devices[i]);
	}
	if (error || !world_put(world, WORLD_JOB, job))
		world_job_end(world, job);
}

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

/* ---- Devices ---- */

static void open_devices(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = create_job();
	size_t count = choose_count(input);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);
	bool start = input_chance(input, 2);
	int error = -EINVAL;

	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		unsigned int which = input_below(input, WORLD_ADDRESSES + 2);

		job->requests[i].address = which < WORLD_ADDRESSES  ? world_addresses[which] :
					   which == WORLD_ADDRESSES ? "0000:ff:1f.7" :
								      NULL;
	}
	if (space && start)
		error = vfb_devices_open_start(space, job->requests, count, opts, &job->job);
	else if (space)
		vfb_devices_open(space, job->requests, count, opts);
	settle_job(world, job, error);
	world_give_back(world, WORLD_SPACE, space);
}

static void close_devices(struct world *world, struct input *input)
{
	struct world_job *job = create_job();
	struct vfb_device *devices[WORLD_ENTRIES];
	size_t count = 0;
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);
	bool start = input_chance(input, 2);
	int error;

	for (unsigned int i = input_below(input, WORLD_ENTRIES); i < WORLD_ENTRIES; i++)
		if ((devices[count] = world_take(world, WORLD_DEVICE, i)))
			count++;
	error = start ? vfb_devices_close_start(devices, count, opts, &job->job) :
			vfb_devices_close(devices, count, opts);
	/* NULL unless nothing was begun. */
	for (size_t i = 0; i < count; i++)
		vfb_device_close(devices[i]);
	settle_job(world, job, start ? error : -EINVAL);
}

static void reset_devices(struct world *world, struct input *input)
{
	struct world_job *job = create_job();
	size_t count = choose_count(input);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);

	fill_devices(world, input, job);
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		job->resets[i].device = job->devices[i];
		job->resets[i].method = input_below(input, 4);
	}
	/* Not started: a device must not be closed while its job runs. */
	vfb_devices_reset(job->resets, count, opts);
	settle_job(world, job, -EINVAL);
}

static void map_bars(struct world *world, struct input *input)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, input_u8(input));
	struct world_job *job = create_job();
	size_t count = choose_count(input);
	union big big;
	const struct vfb_batch_opts *opts = choose_batch(input, &big);

	fill_devices(world, input, job);
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		job->bars[i].device = job->devices[i];
		job->bars[i].index = input_below(input, 8);
		job->bars[i].flags = input_below(input, 16);
		job->bars[i].iova = choose_number(input);
	}
	if (space)
		vfb_bars_map(space, job->bars, count, opts);
	if (input_chance(input, 2))
		vfb_bars_unmap(job->bars, choose_count(input));
	settle_job(world, job, -EINVAL);
	world_give_back(world, WORLD_SPACE, space);
}

static void use_regions(struct world *world, struct input *input)
{
	struct vfb_device *device = world_borrow(world, WORLD_DEVICE, input_u8(input));
	unsigned int index = input_below(input, 12);
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	struct vfb_bar bars[8];
	union big big = {0};
	uint64_t value;
	void *address;

	choose_size(input, &big, sizeof(struct vfb_region_info));
	opts.flags = input_below(input, 8);
	if (device) {
		vfb_region_info(device, index, (void *)&big);
		vfb_region_map(device, index, input_chance(input, 2) ? NULL : &opts, &address);
		vfb_region_load(device, index, choose_number(input), input_below(input, 10),
				&value);
		vfb_region_store(device, index, choose_number(input), input_below(input, 10),
				 value);
		vfb_region_read(device, index, choose_number(input), big.bytes,
				input_below(input, 64));
		if (input_chance(input, 2))
			vfb_region_unmap(device, index);
		vfb_device_bars(device, bars, input_below(input, 8));
	}
	world_give_back(world, WORLD_DEVICE, device);
}

static void use_interrupts(struct world *world, struct input *input)
{
	struct vfb_device *device = world_borrow(world, WORLD_DEVICE, input_u8(input));
	static const int none[4] = {-1, -1, -1, -1};
	struct vfb_irq_info info = VFB_IRQ_INFO_INIT;
	enum vfb_irq irq = input_below(input, 7);
	unsigned int first = input_below(input, 300), count = input_below(input, 5);

	if (device) {
		vfb_irq_info(device, irq, &info);
		vfb_irq_enable(device, irq, first, none, count);
		vfb_irq_mask(device, irq, first, count);
		vfb_irq_unmask(device, irq, first, input_u32(input));
		vfb_irq_trigger(device, irq, first, count);
		vfb_irq_disable(device, irq);
	}
	world_give_back(world, WORLD_DEVICE, device);
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
		open_devices,
		open_devices,
		open_devices,
		close_devices,
		reset_devices,
		map_bars,
		map_bars,
		use_regions,
		use_interrupts,
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
		look_at_memory,
	};

	calls[input_below(input, sizeof(calls) / sizeof(calls[0]))](world, input);
}
