/* SPDX-License-Identifier: MIT */
/* Devices that the library opens. */
#include "world_calls.h"

void world_open_devices(struct world *world, struct input *input)
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

void world_close_devices(struct world *world, struct input *input)
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

void world_reset_devices(struct world *world, struct input *input)
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

void world_map_bars(struct world *world, struct input *input)
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

void world_use_regions(struct world *world, struct input *input)
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

void world_use_interrupts(struct world *world, struct input *input)
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
