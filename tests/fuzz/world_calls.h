/* SPDX-License-Identifier: MIT */
/* What the calls of fuzz_api share, and those that world_call() chooses from. */
#ifndef FUZZ_WORLD_CALLS_H
#define FUZZ_WORLD_CALLS_H

#include <stdio.h>

#include "alloc.h"
#include "world.h"

/* Mostly the struct's own size; what is not is a page of the caller's that has to be enough. */
union big {
	size_t size;
	unsigned char bytes[8192];
};

void choose_size(struct input *input, union big *big, size_t bytes);
uint64_t choose_timeout(struct input *input);
const struct vfb_batch_opts *choose_batch(struct input *input, union big *big);
uint64_t choose_number(struct input *input);
size_t choose_count(struct input *input);

struct world_job *create_job(void);
void fill_ranges(struct world *world, struct input *input, struct world_job *job);
void fill_devices(struct world *world, struct input *input, struct world_job *job);
/* Returns what the job borrowed; keeps it if it has been started. */
void settle_job(struct world *world, struct world_job *job, int error);

void world_open_devices(struct world *world, struct input *input);
void world_close_devices(struct world *world, struct input *input);
void world_reset_devices(struct world *world, struct input *input);
void world_map_bars(struct world *world, struct input *input);
void world_use_regions(struct world *world, struct input *input);
void world_use_interrupts(struct world *world, struct input *input);

void world_adopt_memory(struct world *world, struct input *input);
void world_adopt_space(struct world *world, struct input *input);
void world_hand_over(struct world *world, struct input *input);
void world_bind(struct world *world, struct input *input);
void world_start_reaper(struct world *world, struct input *input);
void world_use_trace(struct world *world, struct input *input);
void world_shut_down(struct world *world, struct input *input);

#endif
