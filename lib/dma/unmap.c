/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/space.h"
#include "engine/job.h"
#include "memory/memory.h"

struct unmap_job;

/* One mapping that goes. */
struct unmapping {
	struct vfb_mapping mapping;
	/* Which entry it belongs to. */
	size_t entry;
	atomic_int error;
};

/* A part of it that is unmapped by one call. */
struct part {
	struct vfb_task task;
	struct unmap_job *owner;
	struct unmapping *unmapping;
	uint64_t offset, bytes;
	unsigned int entries;
};

struct unmap_job {
	struct vfb_job job;
	struct vfb_space *space;
	struct vfb_range *ranges;
	size_t count;
	struct unmapping *unmappings;
	size_t unmapping_count;
	struct part *parts;
	size_t part_count;
	/* Parts are taken in order, by as many tasks as run at once. */
	atomic_size_t next_part;
};

static void run_part(struct unmap_job *unmap, struct part *part)
{
	const struct vfb_mapping *mapping = &part->unmapping->mapping;
	int error;

	error = vfb_space_unmap_one(unmap->space, mapping->iova + part->offset, part->bytes,
				    part->entries);
	/* A call before this one that failed half-way may have unmapped it. */
	if (error && error != -ENOENT) {
		atomic_store(&part->unmapping->error, error);
		vfb_job_fail(&unmap->job, error, false);
	}
	atomic_fetch_add(&unmap->job.bytes_done, part->bytes);
}

static void run_parts(struct vfb_task *task)
{
	struct part *own = container_of(task, struct part, task);
	struct unmap_job *unmap = own->owner;
	size_t next;

	while ((next = atomic_fetch_add(&unmap->next_part, 1)) < unmap->part_count)
		run_part(unmap, &unmap->parts[next]);
	vfb_job_release(&unmap->job);
}

static bool finish_unmap(struct vfb_job *job)
{
	struct unmap_job *unmap = container_of(job, struct unmap_job, job);
	struct vfb_space *space = unmap->space;
	struct vfb_span span;

	vfb_job_settle(job);
	vfb_observe_begin(&span, job->observer, VFB_PHASE_PUBLISH);
	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = 0;
	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < unmap->unmapping_count; i++) {
		struct unmapping *unmapping = &unmap->unmappings[i];
		struct vfb_mapping *mapping;
		int error = atomic_load(&unmapping->error);

		mapping = vfb_index_find(&space->index, unmapping->mapping.iova);
		mapping->state = error ? VFB_MAPPING_DONE : VFB_MAPPING_GONE;
		if (error)
			unmap->ranges[unmapping->entry].status = error;
		else
			atomic_fetch_sub(&mapping->memory->users, 1);
	}
	vfb_index_compact(&space->index);
	pthread_mutex_unlock(&space->lock);
	vfb_observe_end(&span, .operation = "unmap", .bytes = job->bytes, .node = VFB_ANY_NODE);
	atomic_store(&job->entries_done, job->entries);
	vfb_space_job_end(space);
	return true;
}

static void free_unmap(struct vfb_job *job)
{
	struct unmap_job *unmap = container_of(job, struct unmap_job, job);

	free(unmap->unmappings);
	free(unmap->parts);
	free(unmap);
}

static int partly(const struct vfb_range *range, size_t entry, const struct vfb_mapping *mapping)
{
	return vfb_fail(-EINVAL,
			"entry %zu (IOVA 0x%" PRIx64 ", %s) covers a part of the mapping of %s at "
			"IOVA 0x%" PRIx64 ": the kernel does not split a mapping, unmap all of it",
			entry, range->iova, vfb_size_text(range->bytes).text,
			vfb_size_text(mapping->bytes).text, mapping->iova);
}

/*
 * Calls that one entry is made up of whole mappings, and marks those as ending. Called with the
 * space's lock held.
 */
static int claim_entry(struct unmap_job *unmap, size_t entry)
{
	struct vfb_index *index = &unmap->space->index;
	const struct vfb_range *range = &unmap->ranges[entry];
	uint64_t iova = range->iova, last = range->iova + (range->bytes - 1);
	size_t position = vfb_index_position(index, iova);

	if (!range->bytes || last < iova)
		return vfb_fail(-EINVAL,
				"entry %zu (IOVA 0x%" PRIx64 ", %s) is empty or ends "
				"beyond 64 bits",
				entry, iova, vfb_size_text(range->bytes).text);
	for (;; position++) {
		struct vfb_mapping *mapping = &index->mappings[position];

		if (position == index->count || mapping->iova > iova)
			return vfb_fail(-ENOENT, "entry %zu: nothing is mapped at IOVA 0x%" PRIx64,
					entry, iova);
		if (mapping->iova < iova || mapping->bytes - 1 > last - iova)
			return partly(range, entry, mapping);
		if (mapping->state != VFB_MAPPING_DONE)
			return vfb_fail(-EBUSY,
					"entry %zu: a job maps or unmaps what is at IOVA "
					"0x%" PRIx64 " just now: wait for it",
					entry, iova);
		mapping->state = VFB_MAPPING_ENDING;
		unmap->unmappings[unmap->unmapping_count++] =
			(struct unmapping){.mapping = *mapping, .entry = entry};
		unmap->job.bytes += mapping->bytes;
		if (mapping->bytes - 1 == last - iova)
			return 0;
		iova += mapping->bytes;
	}
}

static int claim_entries(struct unmap_job *unmap)
{
	struct vfb_space *space = unmap->space;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	unmap->unmappings = calloc(space->index.count + 1, sizeof(*unmap->unmappings));
	if (!unmap->unmappings)
		error = vfb_fail_memory();
	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = -ECANCELED;
	for (size_t i = 0; i < unmap->count && !error; i++) {
		error = claim_entry(unmap, i);
		if (error)
			unmap->ranges[i].status = error;
	}
	pthread_mutex_unlock(&space->lock);
	return error;
}

static void release_entries(struct unmap_job *unmap)
{
	pthread_mutex_lock(&unmap->space->lock);
	for (size_t i = 0; i < unmap->unmapping_count; i++)
		vfb_index_find(&unmap->space->index, unmap->unmappings[i].mapping.iova)->state =
			VFB_MAPPING_DONE;
	pthread_mutex_unlock(&unmap->space->lock);
}

/* What one call unmaps: a mapping of the kernel where they go in parallel, else all of them. */
static uint64_t part_bytes(const struct unmap_job *unmap, const struct vfb_mapping *mapping,
			   unsigned int width)
{
	if (width == 1 || !unmap->space->iommu->ops->parallel)
		return mapping->bytes;
	return mapping->piece;
}

static int make_parts(struct unmap_job *unmap, unsigned int width)
{
	size_t count = 0;

	for (size_t i = 0; i < unmap->unmapping_count; i++) {
		const struct vfb_mapping *mapping = &unmap->unmappings[i].mapping;
		uint64_t bytes = part_bytes(unmap, mapping, width);

		if (mapping->backed)
			count += (mapping->bytes + bytes - 1) / bytes;
	}
	unmap->parts = calloc(count + 1, sizeof(*unmap->parts));
	if (!unmap->parts)
		return vfb_fail_memory();
	for (size_t i = 0; i < unmap->unmapping_count; i++) {
		struct unmapping *unmapping = &unmap->unmappings[i];
		const struct vfb_mapping *mapping = &unmapping->mapping;
		uint64_t bytes = part_bytes(unmap, mapping, width);

		for (uint64_t offset = 0; mapping->backed && offset < mapping->bytes;
		     offset += bytes) {
			uint64_t left = mapping->bytes - offset;

			unmap->parts[unmap->part_count++] = (struct part){
				.task.run = run_parts,
				.owner = unmap,
				.unmapping = unmapping,
				.offset = offset,
				.bytes = left < bytes ? left : bytes,
				.entries = bytes == mapping->bytes ? mapping->entries : 1,
			};
		}
	}
	return 0;
}

static void submit_parts(struct unmap_job *unmap, unsigned int width)
{
	struct vfb_engine *engine = unmap->space->ctx->engine;
	unsigned int tasks = vfb_engine_workers(engine);

	if (width && width < tasks)
		tasks = width;
	if (!unmap->space->iommu->ops->parallel)
		tasks = 1;
	for (size_t i = 0; i < tasks && i < unmap->part_count; i++) {
		vfb_job_hold(&unmap->job);
		unmap->parts[i].task.span = unmap->job.span.id;
		vfb_engine_submit(engine, &unmap->parts[i].task, VFB_ANY_NODE);
	}
}

int vfb_space_unmap_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			  const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_batch_opts known;
	struct unmap_job *unmap;
	int error;

	*out = NULL;
	error = vfb_batch_opts_read(&known, opts);
	if (error)
		return error;
	unmap = calloc(1, sizeof(*unmap));
	if (!unmap)
		return vfb_fail_memory();
	unmap->job.sys = space->ctx->sys;
	unmap->job.observer = &space->ctx->observer;
	unmap->job.operation = "unmap";
	unmap->job.finish = finish_unmap;
	unmap->job.free = free_unmap;
	unmap->job.entries = count;
	unmap->space = space;
	unmap->ranges = ranges;
	unmap->count = count;
	vfb_space_job_begin(space);
	error = claim_entries(unmap);
	if (!error)
		error = make_parts(unmap, known.width);
	if (!error)
		error = vfb_job_init(&unmap->job, &space->ctx->objects);
	if (error) {
		release_entries(unmap);
		vfb_space_job_end(space);
		free_unmap(&unmap->job);
		return error;
	}
	*out = &unmap->job;
	submit_parts(unmap, known.width);
	vfb_job_release(&unmap->job);
	return 0;
}

int vfb_space_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		    const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;
	int error = vfb_observe_check_wait();

	if (!error)
		error = vfb_space_unmap_start(space, ranges, count, opts, &job);

	return error ? error : vfb_job_complete(job);
}
