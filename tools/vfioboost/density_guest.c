/* SPDX-License-Identifier: MIT */
#include "density_guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "command.h"
#include "mapped.h"

struct guest {
	const struct density_options *options;
	struct vfb_ctx *ctx;
	struct mapped mapped;
	struct vfb_range range;
	char *address;
};

/* Where memory is short, the kernel ends one of the guests, and nobody else. */
static void offer_to_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) != 4)
		perror("vfioboost: /proc/self/oom_score_adj");
	if (fd >= 0)
		close(fd);
}

static int start(struct guest *guest, uint32_t window, const char *device)
{
	const struct density_options *options = guest->options;
	struct vfb_ctx_opts ctx = VFB_CTX_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_space_opts space = {.size = sizeof(space)};
	int error;

	ctx.threads = options->threads;
	memory.bytes = options->bytes;
	memory.page_size = options->page_size;
	memory.kind = options->memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	space.backend = device ? options->backend : VFB_BACKEND_NONE;
	space.on_demand = window ? VFB_ON_DEMAND_TOUCH : VFB_ON_DEMAND_STATIC;
	error = vfb_ctx_create(&ctx, &guest->ctx);
	if (!error)
		error = mapped_open(&guest->mapped, guest->ctx, &memory, &space, device);
	guest->range = (struct vfb_range){.memory = guest->mapped.memory,
					  .bytes = options->bytes,
					  .flags = VFB_RANGE_ANY_IOVA |
						   (window ? VFB_RANGE_ON_DEMAND : 0),
					  .window_bytes = window};
	if (!error)
		error = vfb_space_map(guest->mapped.space, &guest->range, 1, NULL);
	if (!error)
		error = vfb_memory_info(guest->mapped.memory, &info);
	guest->address = info.address;
	return error;
}

/* What a device would do with the memory. */
static int request(const struct guest *guest, uint64_t offset)
{
	uint64_t iova = guest->range.iova + offset, bytes = guest->options->request_bytes;
	int error = vfb_space_hold(guest->mapped.space, iova, bytes);

	if (error)
		return error;
	memset(guest->address + offset, (int)offset, bytes);
	return vfb_space_unhold(guest->mapped.space, iova, bytes);
}

static int make_pass(const struct guest *guest)
{
	int error = 0;

	for (size_t i = 0; i < guest->options->request_count && !error; i++)
		error = request(guest, guest->options->offsets[i]);
	return error;
}

static int work(const struct guest *guest, struct density_report *report)
{
	const struct density_options *options = guest->options;
	uint64_t count = 0;
	int error = 0;

	while (!error && clock_seconds() < report->deadline)
		error = request(guest, options->offsets[count++ % options->request_count]);
	report->written_bytes = count * options->request_bytes;
	return error;
}

static int count_populated(const struct guest *guest, uint32_t window, uint64_t *bytes)
{
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;
	struct vfb_on_demand_info on_demand = VFB_ON_DEMAND_INFO_INIT;
	int error = window ? vfb_space_on_demand_info(guest->mapped.space, &on_demand) :
			     vfb_memory_info(guest->mapped.memory, &memory);

	*bytes = window ? on_demand.populated_bytes : memory.populated_bytes;
	return error;
}

static int start_and_pass(struct guest *guest, uint32_t window, const char *device,
			  struct density_report *report)
{
	double begin = clock_seconds(), started;
	int error = start(guest, window, device);

	started = clock_seconds();
	if (!error)
		error = make_pass(guest);
	report->start_s = started - begin;
	report->first_s = clock_seconds() - started;
	return error ? error : count_populated(guest, window, &report->populated_bytes);
}

int density_guest(const struct density_options *options, uint32_t window, const char *device,
		  int fd, struct density_report *report)
{
	struct guest guest = {.options = options};
	int error;

	offer_to_oom_killer();
	if (!child_wait_turn(fd))
		return EXIT_FAILED;
	error = start_and_pass(&guest, window, device, report);
	while (!error && child_report(fd) && child_wait_turn(fd))
		error = work(&guest, report);
	if (error) {
		report->error = error;
		snprintf(report->reason, sizeof(report->reason), "%s", vfb_last_error());
	} else {
		error = vfb_space_unmap(guest.mapped.space, &guest.range, 1, NULL);
	}
	mapped_close(&guest.mapped);
	vfb_ctx_destroy(guest.ctx);
	return error ? EXIT_FAILED : EXIT_OK;
}
