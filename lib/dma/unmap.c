/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/space.h"
#include "engine/job.h"
#include "memory/memory.h"
#include "options.h"

struct unmap_job;

/* One mapping that goes. */
struct unmapping {
	struct vfb_mapping mapping;
	/* Which entry it belongs to. */
	size_t entry;
	atomic_int error;
};

/* What is unmapped by one call: a part of a mapping, or several mappings that are joined. */
struct part {
	struct vfb_task task;
	struct unmap_job *owner;
	struct unmapping *first;
	size_t count;
	uint64_t iova, bytes;
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
	int error = vfb_space_unmap_one(unmap->space, part->iova, part->bytes, part->entries);

	/* A call before this one that failed half-way may have unmapped it. */
	if (error && error != -ENOENT) {
		for (size_t i = 0; i < part->count; i++)
			atomic_store(&part->first[i].error, error);
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
	bool kept = false;

	vfb_job_settle(job);
	vfb_observe_begin(&span, &job->ctx->observer, VFB_PHASE_PUBLISH);
	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = 0;
	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < unmap->unmapping_count; i++) {
		struct unmapping *unmapping = &unmap->unmappings[i];
		struct vfb_mapping *mapping;
		int error = atomic_load(&unmapping->error);

		mapping = vfb_index_find(&space->index, unmapping->mapping.iova);
		mapping->state = error ? VFB_MAPPING_DONE : VFB_MAPPING_GONE;
		kept = kept || error;
		if (!error)
			atomic_fetch_sub(&mapping->memory->users, 1);
		else if (unmap->ranges)
			unmap->ranges[unmapping->entry].status = error;
	}
	vfb_index_compact(&space->index);
	pthread_mutex_unlock(&space->lock);
	if (kept)
		vfb_translator_publish_surely(space);
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

static const struct vfb_job_ops unmap_ops = {
	.operation = "unmap",
	.finish = finish_unmap,
	.free = free_unmap,
};

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

static int by_iova(const void *a, const void *b)
{
	const struct unmapping *left = a, *right = b;

	return (left->mapping.iova > right->mapping.iova) -
	       (left->mapping.iova < right->mapping.iova);
}

static int torn(const struct unmapping *unmapping, const struct vfb_mapping *other)
{
	return vfb_fail(-EINVAL,
			"entry %zu: what is mapped at IOVA 0x%" PRIx64 " was joined with its "
			"neighbour at IOVA 0x%" PRIx64 " to one mapping (VFB_BATCH_COALESCE, or "
			"too few mappings were left): unmap both together",
			unmapping->entry, unmapping->mapping.iova, other->iova);
}

/* What is joined must go together. Called with the space's lock held, unmappings in order. */
static int check_joined(struct unmap_job *unmap, size_t *culprit)
{
	const struct vfb_index *index = &unmap->space->index;

	for (size_t i = 0; i < unmap->unmapping_count; i++) {
		const struct unmapping *unmapping = &unmap->unmappings[i];
		size_t position = vfb_index_position(index, unmapping->mapping.iova);
		const struct vfb_mapping *mapping = &index->mappings[position];

		*culprit = unmapping->entry;
		if (mapping->joined && mapping[1].state != VFB_MAPPING_ENDING)
			return torn(unmapping, &mapping[1]);
		if (position && mapping[-1].joined && mapping[-1].state != VFB_MAPPING_ENDING)
			return torn(unmapping, &mapping[-1]);
	}
	return 0;
}

/* Everything there is. Called with the space's lock held. */
static int claim_all(struct unmap_job *unmap)
{
	struct vfb_index *index = &unmap->space->index;

	for (size_t i = 0; i < index->count; i++)
		if (index->mappings[i].state != VFB_MAPPING_DONE)
			return vfb_fail(-EBUSY,
					"a job maps or unmaps what is at IOVA 0x%" PRIx64
					" just now: wait for it",
					index->mappings[i].iova);
	for (size_t i = 0; i < index->count; i++) {
		index->mappings[i].state = VFB_MAPPING_ENDING;
		unmap->unmappings[unmap->unmapping_count++] = (struct unmapping){
			.mapping = index->mappings[i]};
		unmap->job.bytes += index->mappings[i].bytes;
	}
	return 0;
}

static int claim_entries(struct unmap_job *unmap)
{
	struct vfb_space *space = unmap->space;
	size_t culprit = 0;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	unmap->unmappings = calloc(space->index.count + 1, sizeof(*unmap->unmappings));
	if (!unmap->unmappings)
		error = vfb_fail_memory();
	if (!error && space->released)
		error = vfb_fail(-EBUSY, "the addresses of the space were released: what is mapped "
					 "is another process's");
	if (!error && !unmap->ranges)
		error = claim_all(unmap);
	for (size_t i = 0; i < unmap->count; i++)
		unmap->ranges[i].status = -ECANCELED;
	for (size_t i = 0; i < unmap->count && !error; i++) {
		error = claim_entry(unmap, i);
		culprit = i;
	}
	if (!error) {
		qsort(unmap->unmappings, unmap->unmapping_count, sizeof(*unmap->unmappings),
		      by_iova);
		error = check_joined(unmap, &culprit);
	}
	if (error && unmap->count)
		unmap->ranges[culprit].status = error;
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

static void add_part(struct unmap_job *unmap, size_t first, size_t count, uint64_t iova,
		     uint64_t bytes, unsigned int entries)
{
	if (unmap->parts)
		unmap->parts[unmap->part_count] = (struct part){
			.task.run = run_parts,
			.owner = unmap,
			.first = &unmap->unmappings[first],
			.count = count,
			.iova = iova,
			.bytes = bytes,
			.entries = entries,
		};
	unmap->part_count++;
}

/* A mapping by itself: cut as the kernel has it where unmaps go in parallel. */
static void add_single(struct unmap_job *unmap, size_t position, bool whole)
{
	const struct vfb_mapping *mapping = &unmap->unmappings[position].mapping;
	uint64_t bytes = whole ? mapping->bytes : mapping->head;

	for (uint64_t offset = 0; offset < mapping->bytes; offset += bytes) {
		if (offset)
			bytes = mapping->piece;
		if (bytes > mapping->bytes - offset)
			bytes = mapping->bytes - offset;
		add_part(unmap, position, 1, mapping->iova + offset, bytes,
			 bytes == mapping->bytes ? mapping->entries : 1);
	}
}

/* Counts the parts, or fills them in. */
static void add_parts(struct unmap_job *unmap, bool whole)
{
	size_t next;

	unmap->part_count = 0;
	for (size_t i = 0; i < unmap->unmapping_count; i = next) {
		const struct vfb_mapping *first = &unmap->unmappings[i].mapping;
		unsigned int entries = first->entries;
		uint64_t bytes = first->bytes;

		for (next = i + 1; unmap->unmappings[next - 1].mapping.joined; next++) {
			bytes += unmap->unmappings[next].mapping.bytes;
			entries += unmap->unmappings[next].mapping.entries;
		}
		if (!first->backed)
			continue;
		if (next == i + 1)
			add_single(unmap, i, whole);
		else
			add_part(unmap, i, next - i, first->iova, bytes, entries);
	}
}

/* By one call, whatever is in between: nothing that the library does not know of. */
static void join_parts(struct unmap_job *unmap)
{
	struct part *first = unmap->parts, *last = &unmap->parts[unmap->part_count - 1];

	first->bytes = last->iova + last->bytes - first->iova;
	for (struct part *part = first + 1; part <= last; part++)
		first->entries += part->entries;
	first->first = unmap->unmappings;
	first->count = unmap->unmapping_count;
	unmap->part_count = 1;
}

static int make_parts(struct unmap_job *unmap, unsigned int width)
{
	const struct vfb_iommu *iommu = unmap->space->iommu;
	bool whole = width == 1 || !iommu->ops->parallel;

	add_parts(unmap, whole);
	unmap->parts = calloc(unmap->part_count + 1, sizeof(*unmap->parts));
	if (!unmap->parts)
		return vfb_fail_memory();
	add_parts(unmap, whole);
	if (!unmap->ranges && !iommu->ops->parallel && !iommu->adopted && unmap->part_count)
		join_parts(unmap);
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
	for (size_t i = 0; i < tasks && i < unmap->part_count; i++)
		vfb_job_submit(&unmap->job, &unmap->parts[i].task, VFB_ANY_NODE);
}

/* @ranges: NULL for everything. */
static int start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
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
	unmap->space = space;
	unmap->ranges = ranges;
	unmap->count = count;
	vfb_space_job_begin(space);
	error = claim_entries(unmap);
	if (!error)
		error = make_parts(unmap, known.width);
	if (!error)
		error = vfb_job_init(&unmap->job, &unmap_ops, space->ctx, count);
	/* Nobody is to find what is about to go. */
	if (!error && vfb_translator_publish(space)) {
		vfb_job_fini(&unmap->job);
		error = -ENOMEM;
	}
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

int vfb_space_unmap_start(struct vfb_space *space, struct vfb_range *ranges, size_t count,
			  const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_range none;

	return start(space, ranges ? ranges : &none, count, opts, out);
}

int vfb_space_unmap_all(struct vfb_space *space)
{
	struct vfb_job *job;

	return vfb_job_sync(job, start(space, NULL, 0, NULL, &job));
}

int vfb_space_unmap(struct vfb_space *space, struct vfb_range *ranges, size_t count,
		    const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;

	return vfb_job_sync(job, vfb_space_unmap_start(space, ranges, count, opts, &job));
}
