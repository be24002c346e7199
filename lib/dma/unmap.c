/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/calls.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

struct unmap {
	struct vfb_space *space;
	/* NULL: unmap everything. */
	struct vfb_range *ranges;
	size_t count;
	uint64_t bytes;
	struct vfb_calls calls;
};

struct unmap_job {
	struct vfb_job job;
	struct unmap unmap;
};

static uint64_t range_last(const struct vfb_range *range)
{
	return range->iova + (range->bytes - 1);
}

/* The next mapping in an area, or the first one; NULL after the last. */
static struct vfb_mapping *next_mapping(const struct vfb_index *index, struct vfb_mapping *before,
					uint64_t iova, uint64_t last)
{
	struct vfb_mapping *mapping = before ? vfb_index_next(before) : vfb_index_at(index, iova);

	return mapping && mapping->at.iova <= last ? mapping : NULL;
}

static int fail_busy(size_t entry, uint64_t iova)
{
	return vfb_fail(-EBUSY,
			"entry %zu: another job is mapping or unmapping IOVA 0x%" PRIx64
			": wait for it",
			entry, iova);
}

static int claim_mapping(struct unmap *unmap, struct vfb_mapping *mapping)
{
	int error = vfb_demand_claim_locked(unmap->space, mapping);

	if (error)
		return error;
	vfb_index_set_state(&unmap->space->index, mapping, VFB_MAPPING_ENDING, false);
	mapping->owner = unmap;
	unmap->bytes += mapping->at.bytes;
	return 0;
}

static int fail_partly(const struct vfb_range *range, size_t entry,
		       const struct vfb_mapping *mapping)
{
	return vfb_fail(-EINVAL,
			"entry %zu (IOVA 0x%" PRIx64 ", %s) covers part of the mapping of %s at "
			"IOVA 0x%" PRIx64 ": the kernel does not split mappings, unmap all of it",
			entry, range->iova, vfb_size_text(range->bytes).text,
			vfb_size_text(mapping->at.bytes).text, mapping->at.iova);
}

/* A mapping that is part of a range of the caller's, another part of which the entry leaves out. */
static bool ends_within_range(struct vfb_mapping *mapping, const struct vfb_range *range)
{
	const struct vfb_mapping *next;

	if (mapping->at.iova == range->iova && mapping->continues)
		return true;
	next = vfb_interval_last(&mapping->at) == range_last(range) ? vfb_index_next(mapping) :
								      NULL;
	return next && next->continues;
}

/* Checks that an entry consists of whole mappings, and claims them. */
static int claim_entry_locked(struct unmap *unmap, size_t entry)
{
	const struct vfb_range *range = &unmap->ranges[entry];
	uint64_t iova = range->iova, last = range_last(range);
	struct vfb_mapping *mapping;
	int error;

	if (!range->bytes || last < iova)
		return vfb_fail(-EINVAL,
				"entry %zu (IOVA 0x%" PRIx64 ", %s) is empty or ends "
				"beyond the 64-bit address space",
				entry, iova, vfb_size_text(range->bytes).text);
	mapping = vfb_index_at(&unmap->space->index, iova);
	for (;; mapping = vfb_index_next(mapping)) {
		if (!mapping || mapping->at.iova > iova)
			return vfb_fail(-ENOENT, "entry %zu: nothing is mapped at IOVA 0x%" PRIx64,
					entry, iova);
		if (mapping->at.iova < iova || vfb_interval_last(&mapping->at) > last ||
		    ends_within_range(mapping, range))
			return fail_partly(range, entry, mapping);
		if (mapping->state != VFB_MAPPING_DONE)
			return fail_busy(entry, iova);
		error = claim_mapping(unmap, mapping);
		if (error)
			return error;
		if (vfb_interval_last(&mapping->at) == last)
			return 0;
		iova += mapping->at.bytes;
	}
}

static int claim_all_locked(struct unmap *unmap)
{
	struct vfb_mapping *mapping = NULL;
	int error;

	while ((mapping = next_mapping(&unmap->space->index, mapping, 0, UINT64_MAX))) {
		if (mapping->state != VFB_MAPPING_DONE)
			return fail_busy(0, mapping->at.iova);
		error = claim_mapping(unmap, mapping);
		if (error)
			return error;
	}
	return 0;
}

/* An extent is unmapped as a whole: all mappings that it overlaps, up to @last, must be claimed. */
static int check_extent_locked(struct unmap *unmap, size_t entry, const struct vfb_interval *extent,
			       uint64_t last)
{
	struct vfb_mapping *mapping = NULL;

	while ((mapping = next_mapping(&unmap->space->index, mapping, extent->iova, last)))
		if (mapping->owner != unmap)
			return vfb_fail(-EINVAL,
					"entry %zu: the range at IOVA 0x%" PRIx64
					" was joined with its neighbour at IOVA 0x%" PRIx64
					" (VFB_BATCH_COALESCE, or the kernel had too few mappings "
					"left): unmap both in one batch",
					entry, unmap->ranges[entry].iova, mapping->at.iova);
	return 0;
}

/*
 * Adds the calls that unmap an area: one for each extent, or a single one where the kernel
 * serializes calls anyway (@whole).
 */
static int add_calls_locked(struct unmap *unmap, size_t entry, uint64_t iova, uint64_t last,
			    bool whole)
{
	const struct vfb_index *index = &unmap->space->index;
	struct vfb_interval *extent = vfb_interval_at(&index->extents, iova);
	uint64_t mapping_end = 0;
	int error = 0;

	for (; extent && extent->iova <= last && !error; extent = vfb_interval_next(extent)) {
		/* An extent that begins in another entry is checked and unmapped there. */
		bool begins = extent->iova >= iova;

		error = check_extent_locked(unmap, entry, extent,
					    begins ? vfb_interval_last(extent) : extent->iova);
		if (error || !begins)
			continue;
		if (whole && extent->iova < mapping_end) {
			struct vfb_call *call = &unmap->calls.calls[unmap->calls.count - 1];

			call->bytes = vfb_interval_last(extent) - call->iova + 1;
			continue;
		}
		mapping_end = vfb_interval_last(&vfb_index_at(index, extent->iova)->at) + 1;
		error = vfb_calls_add(&unmap->calls, &(struct vfb_call){.iova = extent->iova,
									.bytes = extent->bytes,
									.first_entry = entry});
	}
	return error;
}

/* By one call: nothing else is mapped in between. */
static void join_calls(struct vfb_calls *calls)
{
	const struct vfb_call *last = &calls->calls[calls->count - 1];

	calls->calls[0].bytes = last->iova + last->bytes - calls->calls[0].iova;
	calls->count = 1;
}

static int claim_everything_locked(struct unmap *unmap)
{
	const struct vfb_iommu *iommu = unmap->space->iommu;
	int error = claim_all_locked(unmap);

	if (!error)
		error = add_calls_locked(unmap, 0, 0, UINT64_MAX, !iommu->ops->parallel);
	if (!error && !iommu->ops->parallel && !iommu->adopted && unmap->calls.count)
		join_calls(&unmap->calls);
	return error;
}

static int claim_ranges_locked(struct unmap *unmap, bool whole)
{
	int error = 0;

	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = -ECANCELED;
	for (size_t i = 0; i < unmap->count && !error; i++) {
		error = claim_entry_locked(unmap, i);
		if (error)
			unmap->ranges[i].status = error;
	}
	for (size_t i = 0; i < unmap->count && !error; i++) {
		error = add_calls_locked(unmap, i, unmap->ranges[i].iova,
					 range_last(&unmap->ranges[i]), whole);
		if (error)
			unmap->ranges[i].status = error;
	}
	return error;
}

static void unclaim_area_locked(struct unmap *unmap, uint64_t iova, uint64_t last)
{
	struct vfb_mapping *mapping = NULL;

	while ((mapping = next_mapping(&unmap->space->index, mapping, iova, last)))
		if (mapping->owner == unmap) {
			mapping->owner = NULL;
			vfb_index_set_state(&unmap->space->index, mapping, VFB_MAPPING_DONE, false);
			vfb_demand_settle_locked(unmap->space, mapping);
		}
}

static void unclaim_locked(struct unmap *unmap)
{
	if (!unmap->ranges)
		unclaim_area_locked(unmap, 0, UINT64_MAX);
	for (size_t i = 0; i < unmap->count; i++)
		unclaim_area_locked(unmap, unmap->ranges[i].iova, range_last(&unmap->ranges[i]));
}

/* Claims all mappings of the job, or none, and lists the calls that unmap them. */
static int claim(struct unmap *unmap, unsigned int width)
{
	struct vfb_space *space = unmap->space;
	int error;

	pthread_mutex_lock(&space->lock);
	if (space->released)
		error = vfb_fail(-EBUSY, "the addresses of the space were released: another "
					 "process owns its mappings");
	else if (unmap->ranges)
		error = claim_ranges_locked(unmap, width == 1 || !space->iommu->ops->parallel);
	else
		error = claim_everything_locked(unmap);
	if (error)
		unclaim_locked(unmap);
	else
		space->jobs++;
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Removes the mappings that the kernel no longer has. Returns whether any are left. */
static bool settle_area_locked(struct unmap *unmap, uint64_t iova, uint64_t last)
{
	struct vfb_index *index = &unmap->space->index;
	struct vfb_mapping *mapping = vfb_index_at(index, iova), *next;
	bool left = false;

	for (; mapping && mapping->at.iova <= last; mapping = next) {
		next = vfb_index_next(mapping);
		if (mapping->owner != unmap)
			continue;
		mapping->owner = NULL;
		if (!vfb_index_has_extents(index, mapping->at.iova, mapping->at.bytes)) {
			vfb_space_remove_mapping_locked(unmap->space, mapping);
			continue;
		}
		vfb_index_set_state(index, mapping, VFB_MAPPING_DONE, false);
		vfb_demand_settle_locked(unmap->space, mapping);
		left = true;
	}
	return left;
}

/* @result: result of the job. */
static void settle_ranges_locked(struct unmap *unmap, int result)
{
	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = 0;
	for (size_t i = 0; i < unmap->calls.count; i++)
		if (unmap->calls.calls[i].error)
			unmap->ranges[unmap->calls.calls[i].first_entry].status =
				unmap->calls.calls[i].error;
	for (size_t i = 0; i < unmap->count; i++) {
		struct vfb_range *range = &unmap->ranges[i];
		bool left = settle_area_locked(unmap, range->iova, range_last(range));

		/* The failed call may belong to the entry that it is joined with. */
		if (left && !range->status)
			range->status = result;
	}
}

/* Claims the mappings and hides them from translation. On failure nothing has changed. */
static int prepare_unmap(struct unmap *unmap, unsigned int width)
{
	int error = claim(unmap, width);

	if (error)
		return error;
	error = vfb_translator_publish(unmap->space);
	if (!error)
		return 0;
	pthread_mutex_lock(&unmap->space->lock);
	unclaim_locked(unmap);
	pthread_mutex_unlock(&unmap->space->lock);
	vfb_space_job_end(unmap->space);
	return error;
}

/* @result: the first failure of a call. What is left is found again. */
static void settle_unmap(struct unmap *unmap, int result)
{
	pthread_mutex_lock(&unmap->space->lock);
	if (unmap->ranges)
		settle_ranges_locked(unmap, result);
	else
		settle_area_locked(unmap, 0, UINT64_MAX);
	vfb_space_job_end_unlock(unmap->space, result);
}

static bool finish_unmap(struct vfb_job *job)
{
	struct unmap *unmap = &container_of(job, struct unmap_job, job)->unmap;
	int result = vfb_job_settle(job);
	struct vfb_span span;

	vfb_observe_begin(&span, &job->ctx->observer, VFB_PHASE_PUBLISH);
	settle_unmap(unmap, result);
	vfb_observe_end(&span, .operation = "unmap", .bytes = job->bytes, .node = VFB_ANY_NODE);
	atomic_store(&job->entries_done, job->entries);
	return true;
}

static void free_unmap(struct vfb_job *job)
{
	struct unmap_job *unmap = container_of(job, struct unmap_job, job);

	vfb_calls_free(&unmap->unmap.calls);
	free(unmap);
}

static const struct vfb_job_ops unmap_ops = {
	.operation = "unmap",
	.finish = finish_unmap,
	.free = free_unmap,
};

/* @ranges: NULL: unmap everything. */
static int start_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		       const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct unmap_job *unmap;
	int error;

	*out = NULL;
	error = vfb_batch_read(&known, opts, ranges, count);
	if (error)
		return error;
	unmap = calloc(1, sizeof(*unmap));
	if (!unmap)
		return vfb_fail_memory();
	unmap->unmap = (struct unmap){.space = space,
				      .ranges = ranges,
				      .count = count,
				      .calls.space = space};
	error = vfb_job_init(&unmap->job, &unmap_ops, space->ctx, count);
	if (error) {
		free(unmap);
		return error;
	}
	error = prepare_unmap(&unmap->unmap, known.width);
	if (error) {
		vfb_job_fini(&unmap->job);
		free_unmap(&unmap->job);
		return error;
	}
	unmap->job.bytes = unmap->unmap.bytes;
	vfb_job_set_rank(&unmap->job, known.priority, false);
	*out = &unmap->job;
	vfb_calls_unmap(&unmap->unmap.calls, &unmap->job, known.width);
	vfb_job_release(&unmap->job);
	return 0;
}

int vfb_space_unmap_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			  const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_range none;

	/* NULL stands for all. */
	return start_unmap(space, ranges || count ? ranges : &none, count, opts, out);
}

int vfb_space_unmap_all(struct vfb_space *space)
{
	struct vfb_job *job;

	return vfb_job_sync(job, start_unmap(space, NULL, 0, NULL, &job));
}

static bool unmap_fits_here(const struct vfb_range *ranges, size_t count)
{
	uint64_t bytes = 0;

	if (!ranges || count > VFB_HERE_RANGES)
		return false;
	for (size_t i = 0; i < count; i++) {
		bytes += ranges[i].bytes;
		if (ranges[i].bytes > VFB_HERE_BYTES || bytes > VFB_HERE_BYTES)
			return false;
	}
	return count;
}

/* In the calling thread, without a job. */
static int unmap_here(struct vfb_space *space, struct vfb_range *ranges, size_t count)
{
	struct unmap unmap = {.space = space,
			      .ranges = ranges,
			      .count = count,
			      .calls.space = space};
	char text[VFB_ERROR_BYTES];
	int result = prepare_unmap(&unmap, 1);

	if (!result) {
		for (size_t i = 0; i < unmap.calls.count; i++) {
			struct vfb_call *call = &unmap.calls.calls[i];

			call->error = vfb_space_unmap_one(space, call->iova, call->bytes);
			if (!call->error || result)
				continue;
			result = call->error;
			vfb_error_save(text);
		}
		settle_unmap(&unmap, result);
		if (result)
			vfb_error_restore(text);
	}
	vfb_calls_free(&unmap.calls);
	return result;
}

int vfb_space_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		    const struct vfb_batch_opts *opts)
{
	int error = vfb_observer_check_process(&space->ctx->observer);
	struct vfb_batch_opts known;
	struct vfb_job *job;

	if (!error)
		error = vfb_batch_read(&known, opts, ranges, count);
	if (error)
		return error;
	if (!known.flags && unmap_fits_here(ranges, count))
		return vfb_observe_check_wait() ?: unmap_here(space, ranges, count);
	return vfb_job_sync(job, vfb_space_unmap_start(space, ranges, count, opts, &job));
}
