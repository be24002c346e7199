/* SPDX-License-Identifier: MIT */
/*
 * Mapping lost ranges: those that were requested before there was a device, and those that ended
 * with the previous domain. The job that opens the devices waits in a sleeper while the workers
 * map.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/calls.h"
#include "dma/range.h"
#include "memory/memory.h"
#include "round.h"

struct restore {
	struct vfb_job job;
	struct vfb_space *space;
	/* In order of IOVA, in state BEGUN so that no other job touches them. */
	struct vfb_mapping **mappings;
	size_t count;
	/* Adjacent mappings become one extent. */
	bool joined;
	struct vfb_calls calls;
};

static bool is_lost(const struct vfb_index *index, const struct vfb_mapping *mapping)
{
	return mapping->state == VFB_MAPPING_DONE && !mapping->discarded && !mapping->demand &&
	       !vfb_mapping_is_host_only(mapping) &&
	       !vfb_index_has_extents(index, mapping->at.iova, mapping->at.bytes);
}

bool vfb_space_has_lost_locked(const struct vfb_space *space)
{
	struct vfb_mapping *mapping = vfb_index_at(&space->index, 0);

	while (mapping && !is_lost(&space->index, mapping))
		mapping = vfb_index_next(mapping);
	return mapping;
}

/* Claims all lost mappings. */
static int take_lost(struct restore *restore)
{
	struct vfb_space *space = restore->space;
	struct vfb_mapping *mapping;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	restore->mappings = calloc(space->index.count + 1, sizeof(*restore->mappings));
	if (!restore->mappings)
		error = vfb_fail_memory();
	mapping = error ? NULL : vfb_index_at(&space->index, 0);
	for (; mapping; mapping = vfb_index_next(mapping)) {
		if (!is_lost(&space->index, mapping))
			continue;
		vfb_index_set_state(&space->index, mapping, VFB_MAPPING_BEGUN, true);
		restore->mappings[restore->count++] = mapping;
	}
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Releases them: the index knows which the kernel has. */
static void put_lost(struct restore *restore)
{
	pthread_mutex_lock(&restore->space->lock);
	for (size_t i = 0; i < restore->count; i++)
		vfb_index_set_state(&restore->space->index, restore->mappings[i], VFB_MAPPING_DONE,
				    false);
	pthread_mutex_unlock(&restore->space->lock);
}

static int check_valid(const struct restore *restore)
{
	int error = 0;

	pthread_mutex_lock(&restore->space->lock);
	for (size_t i = 0; i < restore->count && !error; i++) {
		const struct vfb_interval *at = &restore->mappings[i]->at;

		if (!vfb_iova_is_valid_locked(restore->space, at->iova, vfb_interval_last(at)))
			error = vfb_fail(
				-EADDRINUSE,
				"the range of %s at IOVA 0x%" PRIx64 ", mapped before there "
				"was a device, is outside of the IOVAs that the devices can "
				"use: open devices first, or map elsewhere",
				vfb_size_text(at->bytes).text, at->iova);
	}
	pthread_mutex_unlock(&restore->space->lock);
	return error;
}

static bool mappings_are_neighbours(const struct vfb_mapping *before,
				    const struct vfb_mapping *mapping)
{
	return before->memory == mapping->memory && before->flags == mapping->flags &&
	       before->at.iova + before->at.bytes == mapping->at.iova &&
	       before->offset + before->at.bytes == mapping->offset;
}

/* The end of the mappings that are adjacent to one. */
static size_t neighbours_end(const struct restore *restore, size_t first)
{
	size_t end = first + 1;

	while (end < restore->count &&
	       mappings_are_neighbours(restore->mappings[end - 1], restore->mappings[end]))
		end++;
	return end;
}

/* Without counting pieces: where the kernel maps in parallel, there is no limit. */
static uint64_t count_calls_of(const struct restore *restore, size_t first, size_t end)
{
	const struct vfb_mapping *mapping = restore->mappings[first];
	const struct vfb_interval *last = &restore->mappings[end - 1]->at;

	return vfb_space_count_blocks(restore->space, mapping->memory, mapping->offset,
				      last->iova + last->bytes - mapping->at.iova);
}

/* Joins adjacent mappings if the kernel has too few mappings left. */
static int check_entries_left(struct restore *restore)
{
	uint64_t calls = 0, left;

	pthread_mutex_lock(&restore->space->lock);
	left = restore->space->entries_left;
	pthread_mutex_unlock(&restore->space->lock);
	for (size_t i = 0; i < restore->count; i++)
		calls += count_calls_of(restore, i, i + 1);
	restore->joined = calls > left;
	if (restore->joined)
		calls = 0;
	for (size_t i = 0, next; i < restore->count && restore->joined; i = next) {
		next = neighbours_end(restore, i);
		calls += count_calls_of(restore, i, next);
	}
	if (calls <= left)
		return 0;
	return vfb_fail(-ENOSPC,
			"the %zu ranges to be mapped for the first device need %" PRIu64
			" mappings, more "
			"than the %" PRIu64 " that the kernel has left: unmap some, or raise "
			"dma_entry_limit of vfio_iommu_type1",
			restore->count, calls, left);
}

static int add_map_call(struct restore *restore, const struct vfb_mapping *first, uint64_t offset,
			uint64_t bytes)
{
	return vfb_calls_add_blocks(&restore->calls, &(struct vfb_call){
							     .iova = first->at.iova + offset,
							     .bytes = bytes,
							     .memory = first->memory,
							     .offset = first->offset + offset,
							     .flags = first->flags,
						     });
}

/* In pieces, if the kernel maps in parallel. */
static int add_pieces_of(struct restore *restore, const struct vfb_mapping *mapping)
{
	uint64_t piece = vfb_memory_piece_bytes(mapping->memory, mapping->offset, mapping->at.bytes,
						0);
	uint64_t end = round_up(mapping->offset + piece, vfb_memory_granule(mapping->memory));
	uint64_t bytes = end - mapping->offset;
	int error = 0;

	for (uint64_t at = 0; at < mapping->at.bytes && !error; at += bytes, bytes = piece) {
		if (bytes > mapping->at.bytes - at)
			bytes = mapping->at.bytes - at;
		error = add_map_call(restore, mapping, at, bytes);
	}
	return error;
}

static int add_map_calls(struct restore *restore)
{
	int error = 0;

	for (size_t i = 0, next; i < restore->count && !error; i = next) {
		const struct vfb_mapping *first = restore->mappings[i];
		const struct vfb_interval *last;

		next = restore->joined ? neighbours_end(restore, i) : i + 1;
		last = &restore->mappings[next - 1]->at;
		if (next == i + 1 && restore->space->iommu->ops->parallel)
			error = add_pieces_of(restore, first);
		else
			error = add_map_call(restore, first, 0,
					     last->iova + last->bytes - first->at.iova);
	}
	return error;
}

static bool finish_restore(struct vfb_job *job)
{
	(void)job;
	return true;
}

static const struct vfb_job_ops restore_ops = {
	.operation = "restore",
	.finish = finish_restore,
};

static void unmap_restored(struct restore *restore)
{
	for (size_t i = restore->calls.count; i-- > 0;)
		if (!restore->calls.calls[i].error)
			vfb_space_unmap_one(restore->space, restore->calls.calls[i].iova,
					    restore->calls.calls[i].bytes);
}

/* All of it, or nothing. */
static int map_lost(struct restore *restore)
{
	int error = add_map_calls(restore);

	if (!error)
		error = vfb_job_init(&restore->job, &restore_ops, restore->space->ctx, 0);
	if (error)
		return error;
	vfb_calls_map(&restore->calls, &restore->job);
	vfb_job_release(&restore->job);
	error = vfb_job_wait(&restore->job, UINT64_MAX);
	vfb_job_fini(&restore->job);
	if (error)
		unmap_restored(restore);
	return error;
}

int vfb_space_restore(struct vfb_space *space)
{
	struct restore restore = {
		.space = space,
		.calls = {.space = space, .all_or_nothing = true},
	};
	int error = take_lost(&restore);

	if (!error)
		error = check_valid(&restore);
	if (!error)
		error = check_entries_left(&restore);
	if (!error && restore.count)
		error = map_lost(&restore);
	put_lost(&restore);
	vfb_calls_free(&restore.calls);
	free(restore.mappings);
	return error;
}
