/* SPDX-License-Identifier: MIT */
#include "session.h"
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "arguments.h"
#include "clock.h"
#include "kernel_trace.h"
#include "phases.h"
#include "progress.h"
#include "results.h"

#define GIB (UINT64_C(1) << 30)

/* Where a PC's guest has memory: below the hole for 32-bit devices, and from 4 GiB on; each in
 * several ranges if the devices cannot use all of these addresses. */
#define LOW_BYTES  (3 * GIB)
#define HIGH_START (4 * GIB)
#define MAX_RANGES 16
/* The memory, and what no device needs. */
#define ALL_RANGES (MAX_RANGES + 1)

const char *const mode_names[MODE_COUNT + 1] = {"boost", "vmm", "serial", "alone", "lazy", NULL};

/* What exists while a guest runs. */
struct running {
	const struct guest *guest;
	struct vfb_ctx *ctx;
	struct vfb_subscription *subscription;
	struct vfb_space *space;
	struct vfb_memory *memories[ALL_RANGES];
	/* With MODE_LAZY what those were adopted from. */
	struct vfb_memory *unpopulated[ALL_RANGES];
	struct vfb_range ranges[ALL_RANGES];
	size_t range_count;
	struct vfb_device_request requests[MAX_DEVICES];
	struct vfb_device *devices[MAX_DEVICES];
};

static const struct vfb_batch_opts one_after_another = {
	.size = sizeof(struct vfb_batch_opts),
	.width = 1,
};

/* @range: where, and with which flags. */
static int create_memory(struct running *running, const struct vfb_range *range)
{
	const struct guest *guest = running->guest;
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = range->bytes,
		.page_size = guest->page_size,
		.kind = guest->kind,
		.policy = guest->policy,
		.nodes = guest->nodes.all,
		.node_count = guest->nodes.count,
		.flags = guest->grow_pool ? VFB_MEMORY_GROW_POOL : 0,
	};
	size_t i = running->range_count;
	int error;

	if (range->flags & VFB_RANGE_HOST_ONLY)
		opts.page_size = VFB_PAGE_BASE;
	error = complain(vfb_memory_create(running->ctx, &opts, &running->memories[i]));
	if (error)
		return error;
	running->ranges[i] = *range;
	running->ranges[i].memory = running->memories[i];
	running->range_count++;
	return 0;
}

/* A context with its subscribers. */
static int create_context(struct running *running, enum mode mode, struct phases *phases,
			  struct watch *watch)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	uint64_t begin = clock_ns(), end;
	int error;

	opts.threads = mode == MODE_SERIAL || mode == MODE_LAZY ? 1 : running->guest->threads;
	if (watch && watch->syscalls)
		opts.flags |= VFB_CTX_SYSCALLS;
	error = complain(vfb_ctx_create(&opts, &running->ctx));
	end = clock_ns();
	if (!error && running->guest->populate_rate)
		error = complain(
			vfb_ctx_set_populate_rate(running->ctx, running->guest->populate_rate));
	if (!error && phases)
		error = complain(vfb_subscribe(running->ctx, NULL, phases_note, phases,
					       &running->subscription));
	if (!error && watch)
		error = watch_begin(watch, running->ctx, mode_names[mode]);
	if (!error && watch) {
		watch_span(watch, VFB_PHASE_CREATE, "create context", begin, end);
		watch_span(watch, VFB_PHASE_CREATE, "subscribe", end, clock_ns());
	}
	return error;
}

static struct vfb_layout_part part_of(uint64_t bytes, uint64_t most)
{
	uint64_t alignment = bytes & -bytes;

	return (struct vfb_layout_part){
		.bytes = bytes,
		.alignment = alignment < most ? alignment : most,
	};
}

static bool is_spapr(const struct running *running)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;

	return running->space && !vfb_space_info(running->space, &info) &&
	       info.backend == VFB_BACKEND_SPAPR;
}

/* Places the memory where the devices can use it. Returns the number of ranges. */
static int lay_out(const struct running *running, uint64_t alignment, struct vfb_range *ranges)
{
	const struct guest *guest = running->guest;
	uint64_t low = guest->bytes < LOW_BYTES ? guest->bytes : LOW_BYTES;
	struct vfb_layout_opts opts = VFB_LAYOUT_OPTS_INIT;
	struct vfb_layout_part parts[2] = {part_of(low, alignment),
					   part_of(guest->bytes - low, alignment)};

	opts.space = running->space;
	parts[0].last = HIGH_START - guest->host_only_bytes - 1;
	parts[1].first = HIGH_START;
	/* The DMA windows of POWER lie elsewhere than the memory of a PC. */
	if (is_spapr(running)) {
		parts[0] = part_of(guest->bytes, alignment);
		parts[1] = (struct vfb_layout_part){0};
	}
	return vfb_layout(&opts, parts, parts[1].bytes ? 2 : 1, ranges, MAX_RANGES);
}

/* Below 4 GiB, where a PC has its firmware. */
static int create_host_only(struct running *running)
{
	uint64_t bytes = running->guest->host_only_bytes;
	struct vfb_range range = {
		.bytes = bytes,
		.iova = HIGH_START - bytes,
		.flags = VFB_RANGE_HOST_ONLY | VFB_RANGE_POPULATE,
	};

	return bytes ? create_memory(running, &range) : 0;
}

static int create_memories(struct running *running)
{
	struct vfb_range ranges[MAX_RANGES];
	bool giant = running->guest->page_size == VFB_PAGE_1G;
	/* Whole pages of 1 GiB if possible, so that such pages can be used. */
	int count = lay_out(running, GIB, ranges), error = 0;

	if (count == -ENOSPC && !giant)
		count = lay_out(running, 2 << 20, ranges);
	if (count < 0)
		return complain(count);
	if (count > MAX_RANGES) {
		fprintf(stderr,
			"vfioboost: the IOVAs that the devices can use are in too many pieces: "
			"the memory would be in %d ranges\n",
			count);
		return -ENOSPC;
	}
	for (int i = 0; i < count && !error; i++)
		error = create_memory(running, &ranges[i]);
	return error ? error : create_host_only(running);
}

/* What the DMA window of POWER, which the kernel clears page by page, needs at least. */
static uint64_t window_bytes_of(const struct guest *guest)
{
	uint64_t bytes = GIB;

	while (bytes < guest->bytes && bytes <= UINT64_MAX / 2)
		bytes *= 2;
	return bytes;
}

/* Everything that takes no time to speak of. */
static int create(struct running *running, enum mode mode, struct phases *phases,
		  struct watch *watch)
{
	const struct guest *guest = running->guest;
	struct vfb_space_opts space_opts = VFB_SPACE_OPTS_INIT;
	int error = create_context(running, mode, phases, watch);

	space_opts.backend = guest->backend;
	space_opts.page_size = guest->page_size;
	space_opts.kind = guest->kind;
	space_opts.window_bytes = window_bytes_of(guest);
	if (!error && guest->devices.count)
		error = complain(vfb_space_create(running->ctx, &space_opts, &running->space));
	if (!error && guest->devices.count)
		error = complain(vfb_space_expect_devices(running->space, guest->devices.all,
							  guest->devices.count));
	if (!error)
		error = create_memories(running);
	for (size_t i = 0; i < guest->devices.count; i++)
		running->requests[i].address = guest->devices.all[i];
	return error;
}

static void destroy(struct running *running)
{
	vfb_devices_close(running->devices, running->guest->devices.count, NULL);
	complain(vfb_space_destroy(running->space));
	for (size_t i = 0; i < running->range_count; i++) {
		complain(vfb_memory_destroy(running->memories[i]));
		complain(vfb_memory_destroy(running->unpopulated[i]));
	}
	vfb_unsubscribe(running->subscription);
	complain(vfb_ctx_destroy(running->ctx));
}

static void take_devices(struct running *running)
{
	for (size_t i = 0; i < running->guest->devices.count; i++)
		running->devices[i] = running->requests[i].device;
}

static int populate(struct running *running)
{
	struct vfb_job *job = NULL;
	int error;

	error = complain(vfb_memory_populate_start(running->memories, running->range_count, &job));
	return error ? error : progress_wait("populating", &job, 1);
}

static int map(struct running *running, const struct vfb_batch_opts *opts)
{
	struct vfb_job *job = NULL;
	int error;

	error = complain(vfb_space_map_start(running->space, running->ranges, running->range_count,
					     opts, &job));
	return error ? error : progress_wait("mapping", &job, 1);
}

static int open_devices(struct running *running, const struct vfb_batch_opts *opts)
{
	struct vfb_job *job = NULL;
	int error;

	error = complain(vfb_devices_open_start(running->space, running->requests,
						running->guest->devices.count, opts, &job));
	if (!error)
		error = progress_wait("opening", &job, 1);
	take_devices(running);
	return error;
}

static int start_in_turn(struct running *running, const struct vfb_batch_opts *opts)
{
	int error = populate(running);

	if (!error && running->space)
		error = open_devices(running, opts);
	if (!error && running->space)
		error = map(running, opts);
	return error;
}

static int start_at_once(struct running *running)
{
	struct vfb_job *jobs[2] = {NULL, NULL};
	int error, other;

	if (!running->space)
		return populate(running);
	error = complain(vfb_devices_open_start(running->space, running->requests,
						running->guest->devices.count, NULL, &jobs[0]));
	if (!error)
		error = complain(vfb_space_map_start(running->space, running->ranges,
						     running->range_count, NULL, &jobs[1]));
	other = progress_wait("starting", jobs, 2);
	take_devices(running);
	return error ? error : other;
}

static int unmap(struct running *running, const struct vfb_batch_opts *opts)
{
	return complain(
		vfb_space_unmap(running->space, running->ranges, running->range_count, opts));
}

static int close_devices(struct running *running, const struct vfb_batch_opts *opts)
{
	int error = complain(
		vfb_devices_close(running->devices, running->guest->devices.count, opts));

	memset(running->devices, 0, sizeof(running->devices));
	return error;
}

static int stop_in_turn(struct running *running, const struct vfb_batch_opts *opts)
{
	int error, other;

	if (!running->space)
		return 0;
	error = unmap(running, opts);
	other = close_devices(running, opts);
	return error ? error : other;
}

static int stop_at_once(struct running *running)
{
	struct vfb_job *jobs[2] = {NULL, NULL};
	int error, other;

	if (!running->space)
		return 0;
	error = complain(vfb_devices_close_start(running->devices, running->guest->devices.count,
						 NULL, &jobs[0]));
	if (error)
		return error;
	memset(running->devices, 0, sizeof(running->devices));
	error = complain(vfb_space_unmap_start(running->space, running->ranges,
					       running->range_count, NULL, &jobs[1]));
	other = progress_wait("stopping", jobs, 2);
	return error ? error : other;
}

/* What a reboot of a guest takes: memory and its mappings stay, devices are reset. */
static int reset_devices(struct running *running, enum mode mode)
{
	struct vfb_reset_request resets[MAX_DEVICES] = {0};
	bool in_turn = mode != MODE_BOOST && mode != MODE_ALONE;
	size_t count = running->guest->devices.count;

	for (size_t i = 0; i < count; i++)
		resets[i].device = running->devices[i];
	return complain(vfb_devices_reset(resets, count, in_turn ? &one_after_another : NULL));
}

static int start(struct running *running, enum mode mode)
{
	if (mode == MODE_BOOST)
		return start_at_once(running);
	return start_in_turn(running, mode == MODE_ALONE ? NULL : &one_after_another);
}

static int stop(struct running *running, enum mode mode)
{
	if (mode == MODE_BOOST)
		return stop_at_once(running);
	return stop_in_turn(running, mode == MODE_ALONE ? NULL : &one_after_another);
}

/* What can be read while the guest runs. */
static int describe(struct running *running, struct session *session)
{
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;
	struct vfb_placement placement = VFB_PLACEMENT_INIT;
	struct vfb_space_info space = VFB_SPACE_INFO_INIT;
	uint64_t bytes[MAX_NODES], huge;

	if (running->space && complain(vfb_space_info(running->space, &space)))
		return -1;
	session->backend = space.backend;
	session->host_only_bytes = running->space ? space.host_only_bytes :
						    running->guest->host_only_bytes;
	for (size_t i = 0; i < running->range_count; i++) {
		if (running->ranges[i].flags & VFB_RANGE_HOST_ONLY)
			continue;
		session->node_count = vfb_memory_nodes(running->memories[i], bytes, MAX_NODES);
		if (session->node_count < 0)
			return complain(session->node_count);
		if (session->node_count > MAX_NODES)
			session->node_count = MAX_NODES;
		for (int node = 0; node < session->node_count; node++)
			session->node_bytes[node] += bytes[node];
		if (complain(vfb_memory_info(running->memories[i], &memory)) ||
		    complain(vfb_memory_placement(running->memories[i], &placement)) ||
		    complain(vfb_memory_huge(running->memories[i], &huge)))
			return -1;
		session->page_size = memory.page_size;
		session->misplaced_bytes += placement.misplaced_bytes;
		session->huge_bytes += huge;
		snprintf(session->fallback, sizeof(session->fallback), "%s", memory.fallback);
	}
	return 0;
}

static int summarize(struct phases *phases, struct session *session)
{
	session->open_s = phases_seconds(phases, VFB_PHASE_OPEN);
	session->populate_s = phases_seconds(phases, VFB_PHASE_POPULATE);
	session->map_s = phases_seconds(phases, VFB_PHASE_MAP);
	session->unmap_s = phases_seconds(phases, VFB_PHASE_UNMAP);
	session->close_s = phases_seconds(phases, VFB_PHASE_CLOSE);
	session->map_calls = phases_count(phases, VFB_PHASE_MAP);
	if (!phases->out_of_memory)
		return 0;
	fprintf(stderr, "vfioboost: out of memory while noting events\n");
	return -ENOMEM;
}

/*
 * Says of memory that it is populated, which it is not: the library maps it as it is then, as a VMM
 * does that does not populate.
 */
static int pretend_populated(struct running *running)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	int error = 0;

	opts.flags = VFB_MEMORY_ADOPT_POPULATED;
	for (size_t i = 0; i < running->range_count && !error; i++) {
		error = complain(vfb_memory_info(running->memories[i], &info));
		opts.address = info.address;
		opts.bytes = info.bytes;
		opts.page_size = info.page_size;
		opts.fd = info.fd;
		if (info.fd >= 0)
			opts.flags |= VFB_MEMORY_ADOPT_HAS_FD;
		if (error)
			break;
		running->unpopulated[i] = running->memories[i];
		error = complain(vfb_memory_adopt(running->ctx, &opts, &running->memories[i]));
		running->ranges[i].memory = running->memories[i];
	}
	return error;
}

static int reboot_timed(struct running *running, enum mode mode, struct watch *watch,
			struct session *session)
{
	uint64_t begin = clock_ns(), end;
	int error = reset_devices(running, mode);

	end = clock_ns();
	watch_span(watch, VFB_PHASE_USER, "reboot", begin, end);
	session->reboot_s = (end - begin) * 1e-9;
	session->rebooted = true;
	return error;
}

/* Starts and stops, timed. */
static int start_and_stop(struct running *running, enum mode mode, struct phases *phases,
			  struct watch *watch, struct kernel_trace *kernel, struct session *session)
{
	uint64_t begin = clock_ns(), end;
	int error = create(running, mode, phases, watch);

	if (!error && mode == MODE_LAZY) {
		error = pretend_populated(running);
		begin = clock_ns();
	}
	kernel_trace_start(kernel);
	if (!error)
		error = start(running, mode);
	end = clock_ns();
	kernel_trace_started(kernel);
	watch_span(watch, VFB_PHASE_USER, "start", begin, end);
	session->start_s = (end - begin) * 1e-9;
	if (!error)
		error = describe(running, session);
	if (!error && running->guest->reboot)
		error = reboot_timed(running, mode, watch, session);
	if (error)
		return error;
	begin = clock_ns();
	error = stop(running, mode);
	end = clock_ns();
	watch_span(watch, VFB_PHASE_USER, "stop", begin, end);
	session->stop_s = (end - begin) * 1e-9;
	return error;
}

int session_run(const struct guest *guest, enum mode mode, struct watch *watch,
		struct session *session)
{
	struct running running = {.guest = guest};
	struct kernel_trace kernel = {.path = ""};
	struct phases phases;
	int error;

	*session = (struct session){0};
	phases_init(&phases);
	if (watch->kernel)
		kernel_trace_open(&kernel);
	error = start_and_stop(&running, mode, &phases, watch, &kernel, session);
	if (watch->kernel)
		session->kernel = kernel_trace_close(&kernel);
	if (!error)
		watch_facts(watch, "vfioboost_session", results_facts(guest, mode, session));
	session->statistics = watch_statistics(watch);
	watch_end(watch);
	destroy(&running);
	if (!error)
		error = summarize(&phases, session);
	phases_free(&phases);
	return error;
}

int session_warm_up(const struct guest *guest)
{
	struct guest memory_only = *guest;
	struct running running = {.guest = &memory_only};
	int error;

	memory_only.devices.count = 0;
	error = create(&running, MODE_BOOST, NULL, NULL);
	if (!error)
		error = populate(&running);
	destroy(&running);
	return error;
}
