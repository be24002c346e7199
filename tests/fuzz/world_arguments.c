/* SPDX-License-Identifier: MIT */
/* What calls get as arguments. */
#include "world_calls.h"

void choose_size(struct input *input, union big *big, size_t bytes)
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

uint64_t choose_timeout(struct input *input)
{
	static const uint64_t timeouts[] = {0, 1, FAKE_MS, 50 * FAKE_MS, UINT64_MAX, UINT64_MAX};

	return timeouts[input_below(input, 6)];
}

const struct vfb_batch_opts *choose_batch(struct input *input, union big *big)
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

uint64_t choose_number(struct input *input)
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

size_t choose_count(struct input *input)
{
	static const size_t wrong[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 40};

	if (input_below(input, 64) == 63)
		return wrong[input_below(input, 3)];
	return input_below(input, WORLD_ENTRIES + 1);
}

void fill_ranges(struct world *world, struct input *input, struct world_job *job)
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
		if (input_chance(input, 4)) {
			range->flags |= VFB_RANGE_ON_DEMAND;
			range->window_bytes = choose_number(input);
		}
	}
}

void fill_devices(struct world *world, struct input *input, struct world_job *job)
{
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++)
		job->devices[i] = world_borrow(world, WORLD_DEVICE, input_u8(input));
}

struct world_job *create_job(void)
{
	struct world_job *job = calloc(1, sizeof(*job));

	if (!job)
		abort();
	return job;
}

/* Gives back what the job borrowed; keeps it if it has been started. */
void settle_job(struct world *world, struct world_job *job, int error)
{
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++) {
		world_give_back(world, WORLD_MEMORY, job->memories[i]);
		world_give_back(world, WORLD_DEVICE, job->devices[i]);
	}
	if (error || !world_put(world, WORLD_JOB, job))
		world_job_end(world, job);
}
