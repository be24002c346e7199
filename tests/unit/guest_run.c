/* SPDX-License-Identifier: MIT */
#include "guest_run.h"

#include <stdatomic.h>

#include "context.h"

#define BYTES (64 * MIB)

struct guest {
	const struct guest_variant *variant;
	struct fake *fake;
	struct vfb_batch_opts batch;
	struct vfb_ctx *ctx;
	struct vfb_subscription *subscription;
	struct vfb_memory *memories[2];
	struct vfb_space *space;
	struct vfb_device_request requests[3];
	struct vfb_device *devices[3];
	struct vfb_range ranges[3];
	bool mapped;
	atomic_uint events, failed_events;
};

const char *guest_variant_name(const struct guest_variant *variant)
{
	static char name[80];

	snprintf(name, sizeof(name), "%s%s%s%s",
		 variant->backend == VFB_BACKEND_TYPE1 ? "type1" :
		 variant->backend == VFB_BACKEND_SPAPR ? "spapr" :
		 variant->by_group		       ? "iommufd by groups" :
							 "iommufd",
		 variant->overlapped ? ", overlapped" : "",
		 variant->best_effort ? ", best effort" : "", variant->width ? ", width 1" : "");
	return name;
}

struct fake *guest_machine(const struct guest_variant *variant)
{
	struct fake_config config = {
		.no_cdev = variant->by_group,
		.spapr = variant->backend == VFB_BACKEND_SPAPR,
		.spapr_shared = variant->backend == VFB_BACKEND_SPAPR,
		.nodes = 2,
		.cpus_per_node = 2,
		.pages_2m = {32, 32},
	};
	struct fake *fake = fake_create(&config);

	add_device(fake, "0000:01:00.0", 1, "0000:00:01.0");
	add_device(fake, "0000:01:00.1", 2, "0000:00:01.0");
	add_device(fake, "0000:02:00.0", 3, "0000:00:02.0");
	return fake;
}

/* A failure has a text, which is of this call. */
static int check_text(int error)
{
	if (error)
		assert_true(error < 0 && *vfb_last_error());
	clear_last_error();
	return error;
}

static void count_event(const struct vfb_event *event, void *data)
{
	struct guest *guest = data;

	assert_int_equal(fake_locks_held(), 0);
	atomic_fetch_add(&guest->events, 1);
	if (event->result)
		atomic_fetch_add(&guest->failed_events, 1);
}

static int create(struct guest *guest)
{
	static const unsigned int node = 1;
	struct vfb_memory_opts bound = {
		.size = sizeof(bound),
		.bytes = BYTES,
		.page_size = VFB_PAGE_2M,
		.kind = VFB_MEMORY_MEMFD,
		.policy = VFB_NUMA_BIND,
		.nodes = &node,
		.node_count = 1,
	};
	struct vfb_memory_opts thp = {
		.size = sizeof(thp),
		.bytes = BYTES,
		.page_size = VFB_PAGE_THP,
	};
	struct vfb_space_opts space = {.size = sizeof(space), .backend = guest->variant->backend};
	int error;

	error = check_text(vfb_ctx_create_with(fake_sys(guest->fake), NULL, &guest->ctx));
	if (error) {
		assert_null(guest->ctx);
		return error;
	}
	error = check_text(
		vfb_subscribe(guest->ctx, NULL, count_event, guest, &guest->subscription));
	assert_true(!error == !!guest->subscription);
	if (error)
		return error;
	error = check_text(vfb_memory_create(guest->ctx, &bound, &guest->memories[0]));
	assert_true(!error == !!guest->memories[0]);
	if (error)
		return error;
	error = check_text(vfb_memory_create(guest->ctx, &thp, &guest->memories[1]));
	assert_true(!error == !!guest->memories[1]);
	if (error)
		return error;
	error = check_text(vfb_space_create(guest->ctx, &space, &guest->space));
	assert_true(!error == !!guest->space);
	return error;
}

/* What a failed batch has left: nothing, or what succeeded. */
static void check_devices(struct guest *guest, int error, bool begun)
{
	for (size_t i = 0; i < ARRAY_SIZE(guest->requests); i++) {
		struct vfb_device_request *request = &guest->requests[i];
		struct fake_device_stats stats;

		guest->devices[i] = request->device;
		if (error && !guest->variant->best_effort)
			assert_null(request->device);
		if (!begun)
			continue;
		assert_true(!!request->device == !request->status);
		if (!error)
			assert_int_equal(request->status, 0);
		fake_device_stats(guest->fake, request->address, &stats);
		assert_int_equal(stats.opens, !!request->device);
	}
}

static void check_ranges(struct guest *guest, int error, bool begun)
{
	struct fake_stats stats;

	guest->mapped = !error;
	for (size_t i = 0; i < ARRAY_SIZE(guest->ranges) && begun; i++) {
		if (!error)
			assert_int_equal(guest->ranges[i].status, 0);
		else if (!guest->variant->best_effort)
			assert_int_not_equal(guest->ranges[i].status, 0);
	}
	if (error && !guest->variant->best_effort) {
		fake_stats(guest->fake, &stats);
		assert_int_equal(stats.mappings, 0);
		assert_int_equal(info_of(guest->space).mappings, 0);
	}
}

static void fill_in(struct guest *guest)
{
	static const char *const names[] = {"0000:01:00.0", "01:00.1", "0000:02:00.0"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		guest->requests[i] = (struct vfb_device_request){.address = names[i]};
	guest->requests[1].address = "0000:01:00.1";
	guest->ranges[0] = (struct vfb_range){.memory = guest->memories[0], .bytes = BYTES};
	guest->ranges[1] = (struct vfb_range){
		.memory = guest->memories[1],
		.bytes = BYTES / 2,
		.flags = VFB_RANGE_ANY_IOVA,
	};
	guest->ranges[2] = (struct vfb_range){
		.memory = guest->memories[1],
		.offset = BYTES / 2,
		.bytes = BYTES / 2,
		.iova = guest->variant->backend == VFB_BACKEND_SPAPR ? GIB / 2 : 4 * GIB,
		.flags = VFB_RANGE_READ,
	};
}

static int start_in_turn(struct guest *guest)
{
	int error;

	error = check_text(vfb_devices_open(guest->space, guest->requests, 3, &guest->batch));
	check_devices(guest, error, !error);
	if (error)
		return error;
	error = check_text(vfb_space_map(guest->space, guest->ranges, 3, &guest->batch));
	check_ranges(guest, error, !error);
	return error;
}

/* Waits as an event loop does, and gives back the result. */
static int wait_for(struct guest *guest, struct vfb_job *job)
{
	int error;

	assert_true(fake_poll(guest->fake, vfb_job_fd(job), UINT64_MAX));
	error = check_text(vfb_job_wait(job, 0));
	vfb_job_destroy(job);
	return error;
}

static int start_overlapped(struct guest *guest)
{
	struct vfb_job *open, *map;
	int error, open_error;

	error = check_text(
		vfb_devices_open_start(guest->space, guest->requests, 3, &guest->batch, &open));
	assert_true(!error == !!open);
	if (error)
		return error;
	error = check_text(
		vfb_space_map_start(guest->space, guest->ranges, 3, &guest->batch, &map));
	assert_true(!error == !!map);
	if (error)
		check_ranges(guest, error, false);
	open_error = wait_for(guest, open);
	check_devices(guest, open_error, true);
	if (map) {
		error = wait_for(guest, map);
		/* Mappings end with the domain when the devices are closed. */
		if (!open_error)
			check_ranges(guest, error, true);
		guest->mapped = !error;
	}
	return open_error ? open_error : error;
}

/* Interrupts, BARs for peers, and a reset of all. */
static int use_more(struct guest *guest)
{
	static const int none[4] = {-1, -1, -1, -1};
	struct vfb_reset_request resets[3] = {0};
	struct vfb_bar bars[3] = {0};
	int error;

	for (size_t i = 0; i < 3; i++) {
		error = check_text(vfb_irq_enable(guest->devices[i], VFB_IRQ_MSIX, 0, none, 4));
		if (error)
			return error;
		resets[i].device = guest->devices[i];
		bars[i].device = guest->devices[i];
		bars[i].flags = VFB_BAR_ANY_IOVA | VFB_BAR_REQUIRED;
	}
	/* Which sPAPR does not map. */
	if (guest->variant->backend == VFB_BACKEND_SPAPR)
		return check_text(vfb_devices_reset(resets, 3, &guest->batch));
	error = check_text(vfb_bars_map(guest->space, bars, 3, &guest->batch));
	if (error)
		return error;
	error = check_text(vfb_devices_reset(resets, 3, &guest->batch));
	/* It may not have been possible to map it again. */
	check_text(vfb_bars_unmap(bars, 1));
	return error ? error : check_text(vfb_irq_disable(guest->devices[0], VFB_IRQ_MSIX));
}

static int use(struct guest *guest)
{
	uint64_t bytes[2];
	uint16_t vendor;
	void *bar;
	int error;

	for (size_t i = 0; i < 2; i++) {
		error = vfb_memory_nodes(guest->memories[i], bytes, 2);
		if (error < 0)
			return check_text(error);
		assert_int_equal(error, 2);
		assert_int_equal(bytes[0] + bytes[1], BYTES);
	}
	for (size_t i = 0; i < 3; i++) {
		error = check_text(
			vfb_region_read(guest->devices[i], VFB_REGION_CONFIG, 0, &vendor, 2));
		if (!error)
			error = check_text(vfb_region_write(guest->devices[i], VFB_REGION_CONFIG,
							    64, &vendor, 2));
		if (!error)
			error = check_text(vfb_region_map(guest->devices[i], 0, NULL, &bar));
		if (error)
			return error;
	}
	error = check_text(vfb_region_unmap(guest->devices[0], 0));
	return error ? error : use_more(guest);
}

static int stop_in_turn(struct guest *guest)
{
	int error = check_text(vfb_space_unmap(guest->space, guest->ranges, 3, &guest->batch));
	int close_error;

	close_error = check_text(vfb_devices_close(guest->devices, 3, &guest->batch));
	memset(guest->devices, 0, sizeof(guest->devices));
	return error ? error : close_error;
}

static int stop_overlapped(struct guest *guest)
{
	struct vfb_job *unmap, *close;
	int error, close_error;

	error = check_text(
		vfb_space_unmap_start(guest->space, guest->ranges, 3, &guest->batch, &unmap));
	assert_true(!error == !!unmap);
	close_error = check_text(vfb_devices_close_start(guest->devices, 3, &guest->batch, &close));
	assert_true(!close_error == !!close);
	if (unmap)
		error = wait_for(guest, unmap);
	if (close) {
		close_error = wait_for(guest, close);
		memset(guest->devices, 0, sizeof(guest->devices));
	}
	return error ? error : close_error;
}

/* Everything that exists can be destroyed, whatever has failed. */
static void destroy(struct guest *guest)
{
	/* Out of resources they are closed one after another. */
	check_text(vfb_devices_close(guest->devices, 3, NULL));
	assert_ok(vfb_space_destroy(guest->space));
	for (size_t i = 0; i < 2; i++)
		assert_ok(vfb_memory_destroy(guest->memories[i]));
	vfb_unsubscribe(guest->subscription);
	assert_ok(vfb_ctx_destroy(guest->ctx));
}

int guest_run(struct fake *fake, const struct guest_variant *variant)
{
	struct guest guest = {
		.variant = variant,
		.fake = fake,
		.batch = VFB_BATCH_OPTS_INIT,
	};
	int error;

	guest.batch.width = variant->width;
	guest.batch.flags = variant->best_effort ? VFB_BATCH_BEST_EFFORT : 0;
	clear_last_error();
	error = create(&guest);
	if (!error) {
		fill_in(&guest);
		error = variant->overlapped ? start_overlapped(&guest) : start_in_turn(&guest);
	}
	if (!error)
		error = use(&guest);
	if (!error)
		error = variant->overlapped ? stop_overlapped(&guest) : stop_in_turn(&guest);
	destroy(&guest);
	return error;
}
