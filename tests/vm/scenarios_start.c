/* SPDX-License-Identifier: MIT */
/* Starting and stopping what a guest needs: in turn, overlapped, cancelled, over and over. */
#include "scenario.h"

#define DEVICES 4
#define BYTES	(16 * MIB)
#define IOVA	scenario_iova

static void in_turn(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[DEVICES];
	struct vfb_memory *memory[2] = {make_memory(f, BYTES, VFB_PAGE_4K),
					make_memory(f, BYTES, VFB_PAGE_THP)};
	struct vfb_range ranges[] = {range_of(memory[0], BYTES, 0),
				     range_of(memory[1], BYTES, IOVA)};

	assert_holds(space, 0, 0, 0);
	open_devices(f, space, devices, DEVICES);
	assert_ok(vfb_memory_populate(memory[0]));
	assert_ok(vfb_space_map(space, ranges, 2, NULL));
	assert_int_equal(ranges[0].status, 0);
	assert_int_equal(ranges[1].status, 0);
	assert_holds(space, DEVICES, 2, 2 * BYTES);
	assert_int_equal(machine_pinned(), 2 * BYTES);

	assert_ok(vfb_space_unmap(space, ranges, 2, NULL));
	assert_holds(space, DEVICES, 0, 0);
	assert_int_equal(machine_pinned(), 0);
	assert_ok(vfb_devices_close(devices, DEVICES, NULL));
	assert_holds(space, 0, 0, 0);
	for (int i = 0; i < 2; i++)
		assert_ok(vfb_memory_destroy(memory[i]));
	assert_ok(vfb_space_destroy(space));
}

/* The single forms, and what there was without batches: one after another, in one piece. */
static void single_forms(struct fixture *f)
{
	struct vfb_batch_opts serial = VFB_BATCH_OPTS_INIT;
	struct vfb_space *space = make_space(f);
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_range range = range_of(memory, BYTES, IOVA);
	struct vfb_device *first, *second;

	serial.width = 1;
	assert_ok(vfb_device_open(space, device_of(f, 0, 2), &first));
	assert_ok(vfb_device_open(space, short_address(device_of(f, 1, 2)), &second));
	assert_ok(vfb_space_map(space, &range, 1, &serial));
	assert_holds(space, 2, 1, BYTES);
	vfb_device_close(first);
	assert_holds(space, 1, 1, BYTES);
	assert_ok(vfb_space_unmap(space, &range, 1, &serial));
	vfb_device_close(second);
	vfb_device_close(NULL);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_destroy(space));
}

static void nothing_to_do(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *none = NULL;

	assert_ok(vfb_devices_open(space, NULL, 0, NULL));
	assert_ok(vfb_space_unmap(space, NULL, 0, NULL));
	assert_ok(vfb_devices_close(&none, 1, NULL));
	assert_ok(vfb_space_destroy(space));
	assert_ok(vfb_space_destroy(NULL));
	assert_ok(vfb_memory_destroy(NULL));
}

static void wait_for(struct vfb_job *job, uint64_t entries, uint64_t bytes)
{
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;

	assert_true(machine_poll(vfb_job_fd(job), 60000 * MS));
	assert_ok(vfb_job_wait(job, 0));
	/* It stays readable. */
	assert_true(machine_poll(vfb_job_fd(job), 0));
	assert_ok(vfb_job_progress(job, &progress));
	assert_int_equal(progress.entries, entries);
	assert_int_equal(progress.entries_done, entries);
	assert_int_equal(progress.bytes, bytes);
	assert_int_equal(progress.bytes_done, bytes);
	vfb_job_destroy(job);
}

/* Memory is populated and mapped while devices open; it is unmapped while they close. */
static void overlapped(struct fixture *f)
{
	struct vfb_device_request requests[DEVICES] = {0};
	struct vfb_space *space = make_space(f);
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_THP);
	struct vfb_range ranges[] = {range_of(memory, BYTES, 0), range_of(memory, BYTES, IOVA)};
	struct vfb_device *devices[DEVICES];
	struct vfb_job *open, *map;

	ranges[1].offset = BYTES;
	for (size_t i = 0; i < DEVICES; i++)
		requests[i].address = device_of(f, i, DEVICES);
	assert_ok(vfb_devices_open_start(space, requests, DEVICES, NULL, &open));
	assert_ok(vfb_space_map_start(space, ranges, 2, NULL, &map));
	assert_false(machine_poll(vfb_job_fd(open), 0));
	wait_for(map, 2, 2 * BYTES);
	wait_for(open, DEVICES, 0);
	assert_holds(space, DEVICES, 2, 2 * BYTES);
	for (size_t i = 0; i < DEVICES; i++) {
		assert_int_equal(requests[i].status, 0);
		devices[i] = requests[i].device;
	}

	assert_ok(vfb_space_unmap_start(space, ranges, 2, NULL, &map));
	assert_ok(vfb_devices_close_start(devices, DEVICES, NULL, &open));
	wait_for(map, 2, 2 * BYTES);
	wait_for(open, DEVICES, 0);
	assert_holds(space, 0, 0, 0);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_destroy(space));
}

/* Two guests of one process, which share memory. */
static void two_spaces(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_range ranges[] = {range_of(memory, BYTES, 0), range_of(memory, BYTES, IOVA)};
	struct vfb_space *spaces[2];
	struct vfb_device *devices[2];
	struct vfb_job *jobs[2];

	for (int i = 0; i < 2; i++) {
		spaces[i] = make_space(f);
		assert_ok(vfb_device_open(spaces[i], device_of(f, i, 2), &devices[i]));
		assert_ok(vfb_space_map_start(spaces[i], &ranges[i], 1, NULL, &jobs[i]));
	}
	for (int i = 0; i < 2; i++) {
		assert_ok(vfb_job_wait(jobs[i], UINT64_MAX));
		vfb_job_destroy(jobs[i]);
		assert_holds(spaces[i], 1, 1, BYTES);
	}
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_error(vfb_memory_destroy(memory), -EBUSY);
	for (int i = 0; i < 2; i++)
		assert_ok(vfb_space_destroy(spaces[i]));
	assert_ok(vfb_memory_destroy(memory));
}

/* While a job maps, nobody else gets at it. */
static void in_flight(struct fixture *f)
{
	struct vfb_device_request request = {.address = f->machine->devices[0]};
	struct vfb_space *space = make_space(f);
	struct vfb_memory *memory = make_memory(f, 4 * BYTES, VFB_PAGE_4K);
	struct vfb_range range = range_of(memory, 4 * BYTES, IOVA);
	struct vfb_job *open, *map, *other;

	assert_ok(vfb_devices_open_start(space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map_start(space, &range, 1, NULL, &map));
	assert_error(vfb_job_wait(map, 0), -ETIMEDOUT);
	assert_error(vfb_space_map_start(space,
					 &(struct vfb_range){
						 .memory = memory,
						 .bytes = PAGE,
						 .iova = IOVA + PAGE,
					 },
					 1, NULL, &other),
		     -EEXIST);
	assert_null(other);
	assert_error(unmap_one(space, IOVA, 4 * BYTES), -EBUSY);
	assert_says("wait for it");
	assert_error(vfb_memory_destroy(memory), -EBUSY);
	assert_error(vfb_space_destroy(space), -EBUSY);
	assert_error(vfb_ctx_destroy(f->ctx), -EBUSY);
	assert_ok(vfb_job_wait(map, UINT64_MAX));
	assert_ok(vfb_job_wait(open, UINT64_MAX));
	vfb_job_destroy(map);
	vfb_job_destroy(open);
	assert_ok(unmap_one(space, IOVA, 4 * BYTES));
	vfb_device_close(request.device);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_destroy(space));
}

/* A second context, with threads of its own, is another world. */
static void two_contexts(struct fixture *f, unsigned int threads)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP), *own;
	struct vfb_device *devices[2];
	struct vfb_space *spaces[2];
	struct fixture other = *f;

	opts.threads = threads;
	assert_ok(machine_ctx_create(&opts, &other.ctx));
	spaces[0] = make_space_with_device(f, &devices[0]);
	spaces[1] = make_space(&other);
	own = make_memory(&other, 4 * BYTES, VFB_PAGE_THP);
	assert_error(vfb_device_open(spaces[1], f->machine->devices[0], &devices[1]), -EBUSY);
	assert_ok(vfb_device_open(spaces[1], f->machine->devices[1], &devices[1]));
	assert_error(map_one(spaces[1], memory, BYTES, IOVA), -EINVAL);
	assert_says("another context");
	assert_ok(map_one(spaces[1], own, 4 * BYTES, IOVA));
	assert_ok(map_one(spaces[0], memory, BYTES, IOVA));
	assert_error(vfb_devices_close_start(devices, 2, NULL, &(struct vfb_job *){NULL}), -EINVAL);
	assert_says("different contexts");
	assert_ok(unmap_one(spaces[1], IOVA, 4 * BYTES));
	end_space(spaces[1], devices[1]);
	assert_ok(vfb_memory_destroy(own));
	assert_ok(vfb_ctx_destroy(other.ctx));
	assert_ok(unmap_one(spaces[0], IOVA, BYTES));
	end_space(spaces[0], devices[0]);
	assert_ok(vfb_memory_destroy(memory));
}

static void one_thread(struct fixture *f)
{
	two_contexts(f, 1);
}

static void many_threads(struct fixture *f)
{
	two_contexts(f, 9);
}

static void cycle(struct fixture *f, struct vfb_space *space, int i)
{
	struct vfb_memory *memory = make_memory(f, 2 * MIB, i % 2 ? VFB_PAGE_2M : VFB_PAGE_4K);
	struct vfb_device_request request = {.address = device_of(f, i % 4, 4)};
	struct vfb_range range = range_of(memory, 2 * MIB, 0);
	struct vfb_job *open;

	range.flags = VFB_RANGE_ANY_IOVA;
	assert_ok(vfb_devices_open_start(space, &request, 1, NULL, &open));
	assert_ok(vfb_space_map(space, &range, 1, NULL));
	assert_ok(vfb_job_wait(open, UINT64_MAX));
	vfb_job_destroy(open);
	assert_holds(space, 1, 1, 2 * MIB);
	/* Before the device goes, or after. */
	if (i % 3)
		assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	vfb_device_close(request.device);
	if (i % 3 == 0)
		assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	assert_ok(vfb_memory_destroy(memory));
}

/* Each order with each device; scripts/soak has thousands. */
static void twelve_cycles(struct fixture *f)
{
	struct vfb_space *space = make_space(f);

	for (int i = 0; i < 12; i++)
		cycle(f, space, i);
	assert_ok(vfb_space_destroy(space));
}

/* Cancels a start after @after_ns; then the same start goes through. */
static void cancel_after(struct fixture *f, uint64_t after_ns)
{
	struct vfb_device_request requests[DEVICES] = {0};
	struct vfb_space *space = make_space(f);
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_4K);
	struct vfb_range range = range_of(memory, 2 * BYTES, IOVA);
	struct vfb_device *devices[DEVICES];
	struct vfb_job *open, *map;
	int mapped;

	for (size_t i = 0; i < DEVICES; i++)
		requests[i].address = device_of(f, i, DEVICES);
	assert_ok(vfb_devices_open_start(space, requests, DEVICES, NULL, &open));
	assert_ok(vfb_space_map_start(space, &range, 1, NULL, &map));
	if (after_ns)
		assert_error(vfb_job_wait(open, after_ns), -ETIMEDOUT);
	vfb_job_cancel(map);
	vfb_job_cancel(open);
	assert_error(vfb_job_wait(open, UINT64_MAX), -ECANCELED);
	assert_says("cancelled");
	/* With groups the domain is there before the devices are open: it may have been done. */
	mapped = vfb_job_wait(map, UINT64_MAX);
	assert_true(mapped == -ECANCELED || (!mapped && f->backend != VFB_BACKEND_IOMMUFD));
	assert_int_equal(range.status, mapped);
	vfb_job_destroy(open);
	vfb_job_destroy(map);
	for (size_t i = 0; i < DEVICES; i++) {
		assert_null(requests[i].device);
		assert_int_equal(requests[i].status, -ECANCELED);
	}
	assert_holds(space, 0, !mapped, mapped ? 0 : 2 * BYTES);

	open_devices(f, space, devices, DEVICES);
	if (mapped)
		assert_ok(vfb_space_map(space, &range, 1, NULL));
	assert_holds(space, DEVICES, 1, 2 * BYTES);
	assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	assert_ok(vfb_devices_close(devices, DEVICES, NULL));
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_destroy(space));
}

static void cancel_in_the_middle(struct fixture *f)
{
	cancel_after(f, 30 * MS);
}

static void cancel_at_once(struct fixture *f)
{
	cancel_after(f, 0);
}

const struct scenario start_scenarios[] = {
	{.name = "start and stop in turn", .run = in_turn},
	{.name = "start and stop by single forms", .run = single_forms},
	{.name = "nothing to do", .run = nothing_to_do},
	{.name = "start and stop overlapped", .run = overlapped},
	{.name = "two spaces share memory", .run = two_spaces, .needs = MACHINE_GROUPS},
	{.name = "what a job works on is busy", .run = in_flight},
	{.name = "a context with one thread", .run = one_thread, .needs = MACHINE_GROUPS},
	{.name = "a context with many threads", .run = many_threads, .needs = MACHINE_GROUPS},
	{.name = "twelve cycles leave nothing", .run = twelve_cycles},
	{.name = "cancel a start in the middle", .run = cancel_in_the_middle},
	{.name = "cancel a start at once", .run = cancel_at_once},
	{0},
};
