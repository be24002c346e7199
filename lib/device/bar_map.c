/* SPDX-License-Identifier: MIT */
/*
 * Mapping BARs for other devices, one after another: type1 maps in turn anyway, and to iommufd a
 * BAR is one run of physical addresses. A worker does that once it is decided whether the space
 * has a domain; no thread waits until then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "device/bar.h"
#include "dma/map.h"
#include "dma/range.h"
#include "engine/job.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

#define KNOWN_FLAGS (VFB_BAR_READ | VFB_BAR_WRITE | VFB_BAR_ANY_IOVA | VFB_BAR_REQUIRED)

/* What was done for a BAR. */
struct progress {
	bool mapped;
	/* Into the process, which it was not before. */
	bool placed;
};

struct bar_job {
	struct vfb_job job;
	struct vfb_domain_waiter waiter;
	struct vfb_task task;
	struct vfb_space *space;
	struct vfb_bar *bars;
	struct progress *progress;
	size_t count;
	bool best_effort;
};

static int explain_bar(const struct vfb_bar *bar, int error)
{
	char text[VFB_ERROR_BYTES];

	vfb_error_save(text);
	return vfb_fail(error, "BAR %u of device %s is not mapped for other devices: %s",
			bar->index, bar->device->pci.address, text);
}

static int check_bar(struct vfb_bar *bar)
{
	struct vfb_region_info info = VFB_REGION_INFO_INIT;
	uint64_t base = vfb_device_base_page(bar->device);
	int error;

	if (atomic_load(&bar->device->closing))
		return vfb_fail(-ECANCELED, "the device is being closed");
	error = vfb_region_info(bar->device, bar->index, &info);
	if (error)
		return error;
	bar->bytes = info.bytes;
	if (info.bytes && info.bytes < base)
		return vfb_fail(-ENOTSUP, "it has %s, and an IOMMU maps a page of %s at least",
				vfb_size_text(info.bytes).text, vfb_size_text(base).text);
	if (!(bar->flags & VFB_BAR_ANY_IOVA) && info.bytes &&
	    bar->iova + (info.bytes - 1) < bar->iova)
		return vfb_fail(-EINVAL, "%s at IOVA 0x%" PRIx64 " end beyond 64 bits",
				vfb_size_text(info.bytes).text, bar->iova);
	/* A fault of type1 would be EFAULT; a dma-buf is revoked from the beginning. */
	if (!vfb_device_has_memory(bar->device))
		return vfb_fail(-EIO,
				"its device does not answer: enable memory in its command register,"
				" or put it into power state D0");
	return 0;
}

/* Into the process, unless it is. */
static int take_bar(struct bar_job *job, struct vfb_bar *bar, struct progress *progress,
		    struct vfb_memory **memory, const struct vfb_areas **areas)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	int error = vfb_bar_take(bar->device, bar->index, job->space, memory, areas);
	void *address;

	if (error != -ENOENT)
		return error;
	opts.flags = VFB_REGION_MAP_WITHOUT_MSIX;
	error = vfb_region_map(bar->device, bar->index, &opts, &address);
	if (error)
		return error;
	progress->placed = true;
	return vfb_bar_take(bar->device, bar->index, job->space, memory, areas);
}

static void put_bar_back(struct vfb_bar *bar, struct progress *progress)
{
	if (progress->mapped)
		vfb_bar_unmap(bar->device, bar->index);
	if (progress->placed)
		vfb_region_unmap(bar->device, bar->index);
	*progress = (struct progress){0};
}

static size_t fill_ranges(const struct vfb_bar *bar, struct vfb_memory *memory,
			  const struct vfb_areas *areas, struct vfb_range *ranges)
{
	uint32_t flags = (bar->flags & VFB_BAR_READ ? VFB_RANGE_READ : 0) |
			 (bar->flags & VFB_BAR_WRITE ? VFB_RANGE_WRITE : 0);
	size_t count = 0;

	for (size_t i = 0; i < areas->count; i++) {
		const struct vfb_area *area = &areas->areas[i];

		if (area->end > area->first)
			ranges[count++] = (struct vfb_range){
				.memory = memory,
				.offset = area->first,
				.bytes = area->end - area->first,
				.iova = bar->iova + area->first,
				.flags = flags,
			};
	}
	return count;
}

/*
 * At an IOVA that is free for all of it, holes included. Another thread may take that before it
 * is mapped: then there is another one.
 */
static int map_anywhere(struct bar_job *job, struct vfb_bar *bar, struct vfb_memory *memory,
			const struct vfb_areas *areas, struct vfb_range *ranges)
{
	int error = vfb_range_find_iova(job->space, memory, &bar->iova);

	while (!error) {
		uint64_t tried = bar->iova;

		error = vfb_map_here(job->space, ranges, fill_ranges(bar, memory, areas, ranges));
		if (error != -EEXIST)
			break;
		error = vfb_range_find_iova(job->space, memory, &bar->iova);
		if (!error && bar->iova == tried)
			error = vfb_fail(-EEXIST,
					 "IOVA 0x%" PRIx64 " is taken by what the library does not "
					 "know of",
					 tried);
	}
	return error;
}

static int bar_map_areas(struct bar_job *job, struct vfb_bar *bar, struct vfb_memory *memory,
			 const struct vfb_areas *areas)
{
	struct vfb_range *ranges = calloc(areas->count + 1, sizeof(*ranges));
	int error;

	if (!ranges)
		return vfb_fail_memory();
	if (bar->flags & VFB_BAR_ANY_IOVA)
		error = map_anywhere(job, bar, memory, areas, ranges);
	else
		error = vfb_map_here(job->space, ranges, fill_ranges(bar, memory, areas, ranges));
	free(ranges);
	return error;
}

static int map_bar(struct bar_job *job, struct vfb_bar *bar, struct progress *progress)
{
	const struct vfb_areas *areas;
	struct vfb_memory *memory;
	int error;

	error = check_bar(bar);
	if (!error)
		error = take_bar(job, bar, progress, &memory, &areas);
	if (!error) {
		error = bar_map_areas(job, bar, memory, areas);
		/* Each mapping of it is a user now. */
		atomic_fetch_sub(&memory->users, 1);
	}
	progress->mapped = !error;
	if (error) {
		error = explain_bar(bar, error);
		put_bar_back(bar, progress);
	}
	return error;
}

static void map_with_event(struct bar_job *job, size_t entry)
{
	struct vfb_bar *bar = &job->bars[entry];
	struct vfb_span span;

	vfb_observe_begin(&span, &job->job.ctx->observer, VFB_PHASE_BAR);
	bar->status = map_bar(job, bar, &job->progress[entry]);
	vfb_observe_end(&span, .operation = "map", .result = bar->status, .bytes = bar->bytes,
			.iova = bar->iova, .device = bar->device->pci.address,
			.node = bar->device->pci.numa_node);
	atomic_fetch_add(&job->job.entries_done, 1);
	if (!bar->status)
		return;
	if (bar->flags & VFB_BAR_REQUIRED)
		vfb_job_fail(&job->job, bar->status, !job->best_effort);
	else
		vfb_job_warn(&job->job);
}

static void undo_bars(struct bar_job *job)
{
	for (size_t i = job->count; i-- > 0;) {
		if (job->progress[i].mapped)
			job->bars[i].status = -ECANCELED;
		put_bar_back(&job->bars[i], &job->progress[i]);
	}
}

static void run_bars(struct vfb_task *task)
{
	struct bar_job *job = container_of(task, struct bar_job, task);

	for (size_t i = 0; i < job->count && !vfb_job_stopped(&job->job); i++)
		map_with_event(job, i);
	if (!vfb_job_decide(&job->job, true))
		undo_bars(job);
	vfb_job_release(&job->job);
}

static bool finish_bars(struct vfb_job *base)
{
	struct bar_job *job = container_of(base, struct bar_job, job);

	for (size_t i = 0; i < job->count; i++)
		vfb_bar_job_end(job->bars[i].device);
	vfb_space_job_end(job->space);
	return true;
}

static void free_bars(struct vfb_job *base)
{
	struct bar_job *job = container_of(base, struct bar_job, job);

	free(job->progress);
	free(job);
}

static const struct vfb_job_ops bar_ops = {
	.operation = "map BARs",
	.cancellable = true,
	.finish = finish_bars,
	.free = free_bars,
};

static int check_bar_entry(const struct vfb_space *space, const struct vfb_bar *bars, size_t entry)
{
	const struct vfb_bar *bar = &bars[entry];

	if (!bar->device)
		return vfb_fail(-EINVAL, "entry %zu has no device", entry);
	if (bar->index >= VFB_BARS)
		return vfb_fail(-EINVAL, "entry %zu: device %s has no BAR %u, they are 0 to 5",
				entry, bar->device->pci.address, bar->index);
	if (bar->flags & ~KNOWN_FLAGS || bar->reserved[0] || bar->reserved[1] || bar->reserved[2])
		return vfb_fail(-EINVAL,
				"entry %zu has flags 0x%x or reserved fields set that this version "
				"does not know",
				entry, bar->flags);
	if (atomic_load(&bar->device->closing))
		return vfb_fail(-EALREADY, "entry %zu: device %s is being closed", entry,
				bar->device->pci.address);
	if (bar->device->ctx != space->ctx)
		return vfb_fail(-EINVAL, "entry %zu is of another context than the space", entry);
	for (size_t other = 0; other < entry; other++)
		if (bars[other].device == bar->device && bars[other].index == bar->index)
			return vfb_fail(-EINVAL,
					"BAR %u of device %s is there twice, as entries %zu and "
					"%zu",
					bar->index, bar->device->pci.address, other, entry);
	return 0;
}

static int create_bars(struct vfb_space *space, size_t count, struct bar_job **out)
{
	struct bar_job *job = calloc(1, sizeof(*job));
	int error;

	if (!job)
		return vfb_fail_memory();
	job->space = space;
	job->count = count;
	job->progress = calloc(count, sizeof(*job->progress));
	error = job->progress ? vfb_job_init(&job->job, &bar_ops, space->ctx, count) :
				vfb_fail_memory();
	if (error) {
		free_bars(&job->job);
		return error;
	}
	*out = job;
	return 0;
}

/* The space has a domain, or will have none for now. */
static void bars_may_be_mapped(struct vfb_domain_waiter *waiter)
{
	struct bar_job *job = container_of(waiter, struct bar_job, waiter);

	vfb_job_submit(&job->job, &job->task, VFB_ANY_NODE);
	vfb_job_release(&job->job);
}

static void start_bars(struct bar_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		job->bars[i].status = -ECANCELED;
		vfb_bar_job_begin(job->bars[i].device);
	}
	vfb_space_job_begin(job->space);
	job->task.run = run_bars;
	job->waiter.decided = bars_may_be_mapped;
	/* The waiter holds the job. */
	if (vfb_space_domain_decided(job->space, &job->waiter))
		bars_may_be_mapped(&job->waiter);
}

int vfb_bars_map_start(struct vfb_space *space, struct vfb_bar *bars, size_t count,
		       const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct bar_job *job = NULL;
	int error;

	*out = NULL;
	error = vfb_batch_read(&known, opts, bars, count);
	if (!error && !count)
		error = vfb_fail(-EINVAL, "no BARs were given to map");
	if (!error)
		error = vfb_space_look_for_domain(space);
	for (size_t i = 0; i < count && !error; i++)
		error = check_bar_entry(space, bars, i);
	if (!error)
		error = create_bars(space, count, &job);
	if (error)
		return error;
	job->bars = bars;
	job->best_effort = known.flags & VFB_BATCH_BEST_EFFORT;
	vfb_job_set_rank(&job->job, known.priority, false);
	error = vfb_job_set_timeout(&job->job, known.timeout_ns);
	if (error) {
		vfb_job_fini(&job->job);
		free_bars(&job->job);
		return error;
	}
	*out = &job->job;
	start_bars(job);
	return 0;
}

int vfb_bars_map(struct vfb_space *space, struct vfb_bar *bars, size_t count,
		 const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	if (!count)
		return 0;
	return vfb_job_sync(job, vfb_bars_map_start(space, bars, count, opts, &job));
}
