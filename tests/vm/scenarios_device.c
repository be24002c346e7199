/* SPDX-License-Identifier: MIT */
/* Opening devices: what they are, and why they cannot be opened. */
#include <pthread.h>

#include "scenario.h"

#define BYTES (4 * MIB)
#define IOVA  scenario_iova

static void what_it_is(struct fixture *f)
{
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT, other = VFB_DEVICE_INFO_INIT;
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[2];

	open_devices(f, space, devices, 2);
	assert_ok(vfb_device_info(devices[0], &info));
	assert_ok(vfb_device_info(devices[1], &other));
	assert_string_equal(info.address, device_of(f, 0, 2));
	assert_string_equal(other.address, device_of(f, 1, 2));
	assert_int_equal(info.node, 0);
	assert_int_equal(other.node, f->machine->last_node);
	assert_true(info.fd >= 0 && other.fd >= 0 && info.fd != other.fd);
	/* VFIO_PCI_NUM_REGIONS, VFIO_PCI_NUM_IRQS */
	assert_int_equal(info.regions, 9);
	assert_int_equal(info.irqs, 5);
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_ok(vfb_space_destroy(space));
}

static void automatic_backend(struct fixture *f)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	struct vfb_device *device;
	struct vfb_space *space;

	assert_ok(vfb_space_create(f->ctx, NULL, &space));
	assert_ok(vfb_device_open(space, device_of(f, 0, 1), &device));
	assert_ok(vfb_space_info(space, &info));
	assert_int_equal(info.backend, f->machine->is_spapr	 ? VFB_BACKEND_SPAPR :
				       f->machine->no_iommufd[0] ? VFB_BACKEND_TYPE1 :
								   VFB_BACKEND_IOMMUFD);
	end_space(space, device);
}

/* They reset at the same time: nobody waits for another's. */
static uint64_t begin_ns[MACHINE_DEVICES], end_ns[MACHINE_DEVICES];
static size_t opened;

static void note_open(const struct vfb_event *event, void *data)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	(void)data;
	if (event->phase != VFB_PHASE_OPEN)
		return;
	pthread_mutex_lock(&lock);
	begin_ns[opened] = event->start_ns;
	end_ns[opened++] = event->start_ns + event->duration_ns;
	pthread_mutex_unlock(&lock);
}

/* Pairs of openings that were going on at the same time. */
static size_t count_overlaps(void)
{
	size_t overlaps = 0;

	for (size_t i = 0; i < opened; i++)
		for (size_t other = 0; other < i; other++)
			overlaps += begin_ns[i] < end_ns[other] && begin_ns[other] < end_ns[i];
	return overlaps;
}

/* All pairs do on the fake's clock. On a busy machine not all threads begin in time; one after
 * another, none would. */
static void assert_overlap(const struct fixture *f, size_t devices)
{
	size_t pairs = devices * (devices - 1) / 2;

	assert_in_range(count_overlaps(), f->machine->attach_takes_time ? 1 : pairs, pairs);
}

static void open_together(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_subscription *subscription;
	struct vfb_device *devices[4];

	assert_ok(vfb_subscribe(f->ctx, NULL, note_open, NULL, &subscription));
	open_devices(f, space, devices, COUNT(devices));
	vfb_unsubscribe(subscription);
	assert_int_equal(opened, COUNT(devices));
	assert_overlap(f, COUNT(devices));
	assert_ok(vfb_devices_close(devices, COUNT(devices), NULL));
	assert_ok(vfb_space_destroy(space));
}

/* Virtual functions: whose they are; each can be reset by itself, so that they open together. */
static void virtual_functions(struct fixture *f)
{
	const struct family *vfs = &f->machine->vfs;
	struct vfb_device_request requests[8] = {0};
	struct vfb_pci_info info = VFB_PCI_INFO_INIT;
	char addresses[8][VFB_PCI_ADDRESS_BYTES];
	struct vfb_space *space = make_space(f);
	struct vfb_subscription *subscription;
	struct vfb_device *devices[8];

	for (size_t i = 0; i < vfs->count; i++) {
		requests[i].address = vfs->devices[i];
		assert_ok(vfb_pci_info(f->ctx, vfs->devices[i], &info));
		assert_string_equal(info.parent, f->machine->pf);
		assert_int_equal(vfb_pci_reset_set(f->ctx, vfs->devices[i], addresses, 8), 1);
		assert_string_equal(addresses[0], vfs->devices[i]);
	}
	assert_ok(vfb_pci_info(f->ctx, f->machine->pf, &info));
	assert_string_equal(info.parent, "");
	if (f->machine->vfs_want_token) {
		assert_error(vfb_devices_open(space, requests, vfs->count, NULL), -EACCES);
		assert_says("a token");
		assert_says("physfn");
		assert_ok(vfb_space_destroy(space));
		return;
	}
	assert_ok(vfb_subscribe(f->ctx, NULL, note_open, NULL, &subscription));
	assert_ok(vfb_devices_open(space, requests, vfs->count, NULL));
	vfb_unsubscribe(subscription);
	assert_int_equal(opened, vfs->count);
	assert_overlap(f, vfs->count);
	for (size_t i = 0; i < vfs->count; i++)
		devices[i] = requests[i].device;
	assert_ok(vfb_devices_close(devices, vfs->count, NULL));
	assert_ok(vfb_space_destroy(space));
}

static void not_an_address(struct fixture *f)
{
	static const char *const wrong[] = {
		"", "nvme0", "0000:01:00", "0000:01:00.8", "0000:01:00.0 ", "1:00.0"};
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	for (size_t i = 0; i < COUNT(wrong); i++) {
		assert_error(vfb_device_open(space, wrong[i], &device), -EINVAL);
		assert_null(device);
		assert_says("is not a PCI address");
	}
	assert_error(vfb_device_open(space, NULL, &device), -EINVAL);
	assert_ok(vfb_space_destroy(space));
}

static void no_such_device(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	assert_error(vfb_device_open(space, "0000:fe:1f.7", &device), -ENODEV);
	assert_null(device);
	assert_says("there is no PCI device 0000:fe:1f.7");
	assert_error(vfb_device_open(space, "fffff:01:00.0", &device), -ENODEV);
	assert_holds(space, 0, 0, 0);
	assert_ok(vfb_space_destroy(space));
}

static void other_driver(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	assert_error(vfb_device_open(space, f->machine->foreign, &device), -ENXIO);
	assert_null(device);
	assert_says(f->machine->foreign);
	assert_says("not to vfio-pci");
	assert_says("vfioboost bind");
	assert_ok(vfb_space_destroy(space));
}

/* Another device of its group belongs to the host. */
static void not_viable(struct fixture *f)
{
	struct vfb_space *space = make_space(f);
	struct vfb_device *device;

	assert_error(vfb_device_open(space, f->machine->mixed, &device), -EPERM);
	assert_null(device);
	assert_says(f->machine->mixed);
	assert_says("not viable");
	assert_says("vfioboost bind");
	assert_holds(space, 0, 0, 0);
	assert_ok(vfb_space_destroy(space));
}

static void twice_in_a_batch(struct fixture *f)
{
	struct vfb_device_request requests[] = {
		{.address = device_of(f, 0, 2)},
		{.address = device_of(f, 1, 2)},
		{.address = short_address(device_of(f, 0, 2))},
	};
	struct vfb_space *space = make_space(f);

	assert_error(vfb_devices_open(space, requests, COUNT(requests), NULL), -EINVAL);
	assert_says("entries 0 and 2");
	assert_int_equal(requests[2].status, -EINVAL);
	assert_int_equal(requests[0].status, -ECANCELED);
	assert_ok(vfb_space_destroy(space));
}

/* The one that has it is not disturbed. */
static void open_twice(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_space *other = make_space(f), *space;
	struct vfb_device *device, *again;
	uint32_t id = 0;

	space = make_space_with_device(f, &device);
	assert_error(vfb_device_open(space, f->machine->devices[0], &again), -EBUSY);
	assert_null(again);
	assert_says("open in this space");
	assert_error(vfb_device_open(other, f->machine->devices[0], &again), -EBUSY);
	assert_null(again);
	assert_says("in use by this process");
	assert_holds(space, 1, 0, 0);
	assert_holds(other, 0, 0, 0);

	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_ok(vfb_region_read(device, VFB_REGION_CONFIG, 0, &id, sizeof(id)));
	assert_int_equal(id, 0x00101b36);
	assert_ok(unmap_one(space, IOVA, BYTES));
	vfb_device_close(device);
	assert_ok(vfb_device_open(other, f->machine->devices[0], &again));
	assert_ok(vfb_space_destroy(space));
	end_space(other, again);
	assert_ok(vfb_memory_destroy(memory));
}

/* The one backend must not take a device that is open through the other. */
static void open_in_both(struct fixture *f)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	struct vfb_device *device, *again;
	struct vfb_space *space, *other;

	if (f->machine->no_iommufd[0])
		return;
	opts.backend = f->backend == VFB_BACKEND_TYPE1 ? VFB_BACKEND_IOMMUFD : VFB_BACKEND_TYPE1;
	assert_ok(vfb_space_create(f->ctx, &opts, &other));
	space = make_space_with_device(f, &device);
	assert_error(vfb_device_open(other, f->machine->devices[0], &again), -EBUSY);
	assert_null(again);
	end_space(space, device);
	assert_ok(vfb_device_open(other, f->machine->devices[0], &again));
	end_space(other, again);
}

static void one_of_a_batch_fails(struct fixture *f)
{
	struct vfb_batch_opts best_effort = VFB_BATCH_OPTS_INIT;
	struct vfb_device_request requests[] = {
		{.address = device_of(f, 0, 2)},
		{.address = f->machine->foreign},
		{.address = device_of(f, 1, 2)},
	};
	struct vfb_space *space = make_space(f);

	assert_error(vfb_devices_open(space, requests, COUNT(requests), NULL), -ENXIO);
	for (size_t i = 0; i < COUNT(requests); i++) {
		assert_null(requests[i].device);
		assert_int_equal(requests[i].status, i == 1 ? -ENXIO : -ECANCELED);
	}
	assert_holds(space, 0, 0, 0);

	best_effort.flags = VFB_BATCH_BEST_EFFORT;
	assert_error(vfb_devices_open(space, requests, COUNT(requests), &best_effort), -ENXIO);
	assert_says("not to vfio-pci");
	assert_int_equal(requests[0].status, 0);
	assert_int_equal(requests[1].status, -ENXIO);
	assert_int_equal(requests[2].status, 0);
	assert_null(requests[1].device);
	assert_holds(space, 2, 0, 0);
	vfb_device_close(requests[0].device);
	vfb_device_close(requests[2].device);
	assert_ok(vfb_space_destroy(space));
}

/* The last entry is found busy when the others are on their way, or open. */
static void last_of_a_batch_is_busy(struct fixture *f)
{
	struct vfb_device_request requests[4] = {0};
	struct vfb_space *holder = make_space(f), *space = make_space(f);
	struct vfb_device *held, *devices[4];

	for (size_t i = 0; i < COUNT(requests); i++)
		requests[i].address = device_of(f, i, COUNT(requests));
	assert_ok(vfb_device_open(holder, requests[3].address, &held));
	assert_error(vfb_devices_open(space, requests, COUNT(requests), NULL), -EBUSY);
	for (size_t i = 0; i < COUNT(requests); i++) {
		assert_null(requests[i].device);
		assert_int_equal(requests[i].status, i == 3 ? -EBUSY : -ECANCELED);
	}
	assert_holds(space, 0, 0, 0);
	end_space(holder, held);
	open_devices(f, space, devices, COUNT(devices));
	assert_ok(vfb_devices_close(devices, COUNT(devices), NULL));
	assert_ok(vfb_space_destroy(space));
}

/* What is mapped stays mapped for the caller when its last device goes, and comes back. */
static void close_all_and_open_again(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, 3 * BYTES, VFB_PAGE_THP);
	struct vfb_range ranges[3];
	struct vfb_device *devices[2];
	struct vfb_space *space = make_space(f);

	for (size_t i = 0; i < COUNT(ranges); i++) {
		ranges[i] = range_of(memory, BYTES, IOVA + i * BYTES);
		ranges[i].offset = i * BYTES;
	}
	open_devices(f, space, devices, 2);
	assert_ok(vfb_space_map(space, ranges, COUNT(ranges), NULL));
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_holds(space, 0, 3, 3 * BYTES);
	assert_int_equal(machine_pinned(), 0);
	/* While there is no device. */
	assert_ok(vfb_space_unmap(space, &ranges[1], 1, NULL));

	open_devices(f, space, devices, 2);
	assert_holds(space, 2, 2, 2 * BYTES);
	assert_int_equal(machine_pinned(), 2 * BYTES);
	assert_error(map_one(space, memory, BYTES, ranges[0].iova), -EEXIST);
	assert_ok(map_one(space, memory, BYTES, ranges[1].iova));
	assert_ok(unmap_one(space, IOVA, 3 * BYTES));
	assert_holds(space, 2, 0, 0);
	assert_ok(vfb_devices_close(devices, 2, NULL));
	assert_ok(vfb_space_destroy(space));
	assert_ok(vfb_memory_destroy(memory));
}

/* The device that fails does not take the other's domain from the map that waits for it. */
static void two_batches(struct fixture *f)
{
	struct vfb_device_request bad = {.address = f->machine->foreign};
	struct vfb_device_request good = {.address = f->machine->devices[0]};
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_range range = range_of(memory, BYTES, IOVA);
	struct vfb_space *space = make_space(f);
	struct vfb_job *jobs[3];

	assert_ok(vfb_devices_open_start(space, &bad, 1, NULL, &jobs[0]));
	assert_ok(vfb_devices_open_start(space, &good, 1, NULL, &jobs[1]));
	assert_ok(vfb_space_map_start(space, &range, 1, NULL, &jobs[2]));
	assert_error(vfb_job_wait(jobs[0], UINT64_MAX), -ENXIO);
	assert_ok(vfb_job_wait(jobs[1], UINT64_MAX));
	assert_ok(vfb_job_wait(jobs[2], UINT64_MAX));
	for (size_t i = 0; i < COUNT(jobs); i++)
		vfb_job_destroy(jobs[i]);
	assert_holds(space, 1, 1, BYTES);
	assert_ok(unmap_one(space, IOVA, BYTES));
	end_space(space, good.device);
	assert_ok(vfb_memory_destroy(memory));
}

/* The domain stays, or it is lost and comes back with all that was mapped. */
static void one_goes_while_another_comes(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_ok(map_one(space, memory, BYTES, IOVA));
	for (size_t i = 1; i <= 6; i++) {
		struct vfb_device_request request = {.address = device_of(f, i % 2, 2)};
		struct vfb_job *close, *open;

		assert_ok(vfb_devices_close_start(&device, 1, NULL, &close));
		/* A moment later each time: before, during and after the reset. */
		if (i > 2)
			vfb_job_wait(close, i * 20 * MS);
		assert_ok(vfb_devices_open_start(space, &request, 1, NULL, &open));
		assert_ok(vfb_job_wait(close, UINT64_MAX));
		assert_ok(vfb_job_wait(open, UINT64_MAX));
		vfb_job_destroy(close);
		vfb_job_destroy(open);
		device = request.device;
		assert_holds(space, 1, 1, BYTES);
		assert_int_equal(machine_pinned(), BYTES);
	}
	assert_ok(unmap_one(space, IOVA, BYTES));
	end_space(space, device);
	assert_ok(vfb_memory_destroy(memory));
}

/* A reset takes 100 ms: nobody waits for it, and it is done all the same. */
static void close_late(struct fixture *f)
{
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_device *devices[2];
	struct vfb_space *space = make_space(f);
	int never = machine_eventfd(), error = 0;

	open_devices(f, space, devices, 2);
	for (size_t i = 0; i < 2; i++)
		mark(devices[i]);
	opts.timeout_ns = MS;
	assert_error(vfb_devices_close(devices, 2, &opts), -ETIMEDOUT);
	assert_says("2 of 2 devices are not closed yet");
	assert_null(devices[0]);
	assert_error(vfb_space_destroy(space), -EBUSY);
	/* When the devices have left the space, and when the job has ended. */
	for (size_t i = 0; i < 1000 && (error = vfb_space_destroy(space)); i++)
		assert_false(machine_poll(never, 10 * MS));
	assert_int_equal(error, 0);
	for (size_t i = 0; i < 1000 && (error = vfb_ctx_destroy(f->ctx)); i++)
		assert_false(machine_poll(never, 10 * MS));
	assert_int_equal(error, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(machine_register(device_of(f, i, 2), NVME_INTMS), 0);
	assert_ok(machine_ctx_create(NULL, &f->ctx));
	machine_close(never);
}

/* While memory is populated and mapped for them: that goes on, without the devices. */
static void close_during_map(struct fixture *f)
{
	struct vfb_device *devices[2], *device;
	struct vfb_space *space = make_space(f);

	for (size_t i = 0; i < 4; i++) {
		struct vfb_memory *memory = make_memory(f, 4 * BYTES, VFB_PAGE_4K);
		struct vfb_range range = range_of(memory, 4 * BYTES, IOVA);
		struct vfb_job *map, *close;

		open_devices(f, space, devices, 2);
		assert_ok(vfb_space_map_start(space, &range, 1, NULL, &map));
		/* A moment later each time. */
		vfb_job_wait(map, i * 5 * MS);
		assert_ok(vfb_devices_close_start(devices, 2, NULL, &close));
		assert_ok(vfb_job_wait(map, UINT64_MAX));
		assert_ok(vfb_job_wait(close, UINT64_MAX));
		vfb_job_destroy(map);
		vfb_job_destroy(close);
		assert_holds(space, 0, 1, 4 * BYTES);
		assert_int_equal(machine_pinned(), 0);
		/* The next device has it. */
		assert_ok(vfb_device_open(space, f->machine->devices[0], &device));
		assert_int_equal(machine_pinned(), 4 * BYTES);
		assert_ok(unmap_one(space, IOVA, 4 * BYTES));
		assert_ok(vfb_device_close(device));
		assert_ok(vfb_memory_destroy(memory));
	}
	assert_ok(vfb_space_destroy(space));
}

static void destroy_busy(struct fixture *f)
{
	struct vfb_memory *memory = make_memory(f, BYTES, VFB_PAGE_THP);
	struct vfb_device *device;
	struct vfb_space *space = make_space_with_device(f, &device);

	assert_error(vfb_space_destroy(space), -EBUSY);
	assert_says("close them first");
	assert_error(vfb_ctx_destroy(f->ctx), -EBUSY);
	assert_says("destroy them first");
	assert_ok(map_one(space, memory, BYTES, IOVA));
	assert_error(vfb_memory_destroy(memory), -EBUSY);
	assert_says("unmap");
	vfb_device_close(device);
	assert_error(vfb_memory_destroy(memory), -EBUSY);
	/* Unmaps what is mapped. */
	assert_ok(vfb_space_destroy(space));
	assert_error(vfb_ctx_destroy(f->ctx), -EBUSY);
	assert_ok(vfb_memory_destroy(memory));
}

const struct scenario device_scenarios[] = {
	{.name = "what a device is", .run = what_it_is},
	{.name = "the automatic backend", .run = automatic_backend},
	{.name = "devices open at the same time", .run = open_together},
	{.name = "virtual functions", .run = virtual_functions, .needs = MACHINE_VFS},
	{.name = "not a PCI address", .run = not_an_address},
	{.name = "no such device", .run = no_such_device},
	{.name = "a device of another driver", .run = other_driver},
	{.name = "a device of a group that is not viable",
	 .run = not_viable,
	 .needs = MACHINE_MIXED},
	{.name = "a device twice in a batch", .run = twice_in_a_batch},
	{.name = "a device opened twice", .run = open_twice},
	{.name = "a device open in the other backend", .run = open_in_both},
	{.name = "one device of a batch fails", .run = one_of_a_batch_fails},
	{.name = "the last device of a batch is busy",
	 .run = last_of_a_batch_is_busy,
	 .needs = MACHINE_GROUPS},
	{.name = "close all devices and open them again", .run = close_all_and_open_again},
	{.name = "two batches of devices, one fails", .run = two_batches},
	{.name = "one device goes while another comes", .run = one_goes_while_another_comes},
	{.name = "closing takes longer than it may", .run = close_late},
	{.name = "devices close during a map", .run = close_during_map},
	{.name = "destroy what is busy", .run = destroy_busy},
	{0},
};
