/* SPDX-License-Identifier: MIT */
/*
 * Random calls of the API over the fake kernel: from several threads, in callbacks, with failures
 * injected and sizes that are wrong. Each input begins with the machine; the rest is divided among
 * the threads. In the end everything must be free again. See world.h for what the threads share.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "alloc.h"
#include "world.h"

#define THREADS 3

static atomic_ulong calls;

static void print_calls(void)
{
	fprintf(stderr, "API calls: %lu\n", atomic_load(&calls));
}

/* ---- The machine ---- */

static void add_devices_of(struct world *world)
{
	for (unsigned int i = 0; i < WORLD_ADDRESSES; i++)
		fake_add_device(world->fake,
				&(struct fake_device){
					.address = world_addresses[i],
					.group = i / 2 + 1,
					.bridge = i < 4 ? "0000:00:01.0" : NULL,
					.driver = i == 5 ? "nvme" : "vfio-pci",
					.sparse_bars = i == 1,
					.fixed_msix = i == 2,
					.bars = {{.bytes = 16 * FAKE_KIB}, {.bytes = FAKE_MIB}},
				});
	fake_add_device(world->fake, &(struct fake_device){.address = WORLD_BOUND,
							   .group = WORLD_ADDRESSES,
							   .driver = "nvme"});
}

static struct fake *create_machine(struct input *input)
{
	static const uint64_t memory[] = {64 * FAKE_GIB, 64 * FAKE_MIB, 8 * FAKE_MIB, FAKE_GIB};
	static const uint64_t memlock[] = {0, 64 * FAKE_KIB, 8 * FAKE_MIB};
	uint8_t bits = input_u8(input), more = input_u8(input);
	struct fake_config config = {
		.nodes = 1 + (bits & 1),
		.cpus_per_node = 2,
		.no_cdev = bits & 2,
		.no_map_file = bits & 4,
		.no_populate = bits & 8,
		.old_close = bits & 16,
		.no_type1 = (bits & 0x60) == 0x60,
		.dma_entry_limit = bits & 0x80 ? 5 : 0,
		.memlock = memlock[more % 3],
		.no_dma_buf = more & 16,
		.pages_2m = {more & 32 ? 8 : 0},
		.run_pages = more & 64 ? 3 : 0,
	};

	config.memory[0] = config.memory[1] = memory[more / 4 % 4];
	return fake_create(&config);
}

static int create_context(struct world *world, struct input *input)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;

	opts.threads = 1 + input_below(input, 3);
	opts.flags = input_chance(input, 4) ? VFB_CTX_SYSCALLS : 0;
	return vfb_ctx_create_with(fake_sys(world->fake), &opts, &world->ctx);
}

/* ---- The threads ---- */

struct runner {
	struct world *world;
	struct input input;
	pthread_t thread;
};

static void run_input(struct runner *runner)
{
	unsigned long made = 0;

	while (input_left(&runner->input)) {
		world_call(runner->world, &runner->input);
		made++;
	}
	atomic_fetch_add(&calls, made);
}

static void *run_thread(void *arg)
{
	struct runner *runner = arg;

	fake_thread_begin(runner->world->fake, "fuzz");
	run_input(runner);
	fake_thread_end(runner->world->fake);
	return NULL;
}

static void run_threads(struct world *world, struct input *input)
{
	struct runner runners[THREADS];
	size_t part = input_left(input) / THREADS + 1;

	for (int i = 0; i < THREADS; i++) {
		runners[i].world = world;
		runners[i].input = input_cut(input, part);
	}
	for (int i = 1; i < THREADS; i++)
		if (pthread_create(&runners[i].thread, NULL, run_thread, &runners[i]))
			abort();
	run_input(&runners[0]);
	fake_outside_begin(world->fake);
	for (int i = 1; i < THREADS; i++)
		pthread_join(runners[i].thread, NULL);
	fake_outside_end(world->fake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static bool registered;
	struct input input = {data, data + bytes};
	struct world world = {0};
	char text[4096];

	if (!registered)
		registered = !atexit(print_calls);
	pthread_mutex_init(&world.lock, NULL);
	pthread_mutex_init(&world.trace_lock, NULL);
	atomic_flag_clear(&world.binding);
	atomic_flag_clear(&world.reaping);
	world.trace_fd = -1;
	world.fake = create_machine(&input);
	add_devices_of(&world);
	if (create_context(&world, &input))
		abort();
	run_threads(&world, &input);
	fake_fail_none(world.fake);
	alloc_fail_nth(0);
	world_end(&world);
	if (fake_leaks(world.fake, text, sizeof(text))) {
		fprintf(stderr, "left over:\n%s", text);
		abort();
	}
	fake_destroy(world.fake);
	pthread_mutex_destroy(&world.trace_lock);
	pthread_mutex_destroy(&world.lock);
	return 0;
}
