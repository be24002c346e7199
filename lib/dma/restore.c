/* SPDX-License-Identifier: MIT */
/*
 * Mapping what the kernel does not have: ranges that were asked for before there was a device,
 * and those that went with the last domain. The devices that have just brought a domain wait for
 * it, in threads that may sleep, while the workers map.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "container_of.h"
#include "dma/range.h"
#include "engine/job.h"
#include "memory/memory.h"
#include "round.h"

/* One map call. */
struct unit {
	const struct vfb_mapping *first;
	/* From the beginning of the first mapping. */
	uint64_t offset, bytes;
	bool mapped;
};

/* A task that takes units one after another. */
struct runner {
	struct vfb_task task;
	struct restore *restore;
};

struct restore {
	struct vfb_job job;
	struct vfb_space *space;
	/* Copies, in order of IOVA; in the index they are marked as begun, so that nobody else
	 * touches them. */
	struct vfb_mapping *mappings;
	size_t count;
	struct unit *units;
	size_t unit_count;
	struct runner *runners;
	atomic_size_t next_unit;
};

static bool is_lost(const struct vfb_mapping *mapping)
{
	return mapping->state == VFB_MAPPING_DONE && !mapping->backed;
}

bool vfb_space_has_lost(const struct vfb_space *space)
{
	for (size_t i = 0; i < space->index.count; i++)
		if (is_lost(&space->index.mappings[i]))
			return true;
	return false;
}

/* Takes everything that is lost. */
static int take_lost(struct restore *restore)
{
	struct vfb_space *space = restore->space;
	struct vfb_index *index = &space->index;
	int error = 0;

	pthread_mutex_lock(&space->lock);
	restore->mappings = calloc(index->count + 1, sizeof(*restore->mappings));
	if (!restore->mappings)
		error = vfb_fail_memory();
	for (size_t i = 0; i < index->count && !error; i++) {
		if (!is_lost(&index->mappings[i]))
			continue;
		index->mappings[i].state = VFB_MAPPING_BEGUN;
		index->mappings[i].visible = true;
		restore->mappings[restore->count++] = index->mappings[i];
	}
	pthread_mutex_unlock(&space->lock);
	return error;
}

/* Gives them back; only those of which all is mapped are known to the kernel. */
static void put_lost(struct restore *restore, bool backed)
{
	struct vfb_space *space = restore->space;

	pthread_mutex_lock(&space->lock);
	for (size_t i = 0; i < restore->count; i++) {
		const struct vfb_mapping *taken = &restore->mappings[i];
		struct vfb_mapping *mapping = vfb_index_find(&space->index, taken->iova);

		mapping->state = VFB_MAPPING_DONE;
		mapping->visible = false;
		mapping->backed = backed;
		mapping->head = taken->head;
		mapping->piece = taken->piece;
		mapping->entries = taken->entries;
		mapping->joined = taken->joined;
	}
	pthread_mutex_unlock(&space->lock);
}

static int check_valid(const struct restore *restore)
{
	const struct vfb_space *space = restore->space;
	int error = 0;

	pthread_mutex_lock(&restore->space->lock);
	for (size_t i = 0; i < restore->count && !error; i++) {
		const struct vfb_mapping *mapping = &restore->mappings[i];

		if (!vfb_iova_is_valid(space, mapping->iova, mapping->iova + (mapping->bytes - 1)))
			error = vfb_fail(
				-EADDRINUSE,
				"the range of %s at IOVA 0x%" PRIx64 ", which was mapped "
				"before there was a device, is outside of the IOVAs that "
				"the devices can use: open devices first, or map elsewhere",
				vfb_size_text(mapping->bytes).text, mapping->iova);
	}
	pthread_mutex_unlock(&restore->space->lock);
	return error;
}

static bool are_neighbours(const struct vfb_mapping *before, const struct vfb_mapping *mapping)
{
	return before->memory == mapping->memory && before->flags == mapping->flags &&
	       before->iova + before->bytes == mapping->iova &&
	       before->offset + before->bytes == mapping->offset;
}

static size_t count_calls(const struct restore *restore)
{
	size_t calls = 0;

	for (size_t i = 0; i < restore->count; i++)
		calls += !i || !restore->mappings[i - 1].joined;
	return calls;
}

/* Joins neighbours where the kernel would not have enough mappings for each by itself. */
static int check_entries(struct restore *restore)
{
	uint64_t left;
	size_t calls;

	pthread_mutex_lock(&restore->space->lock);
	left = restore->space->entries_left;
	pthread_mutex_unlock(&restore->space->lock);
	if (count_calls(restore) <= left)
		return 0;
	for (size_t i = 0; i + 1 < restore->count; i++)
		restore->mappings[i].joined = are_neighbours(&restore->mappings[i],
							     &restore->mappings[i + 1]);
	calls = count_calls(restore);
	if (calls <= left)
		return 0;
	return vfb_fail(-ENOSPC,
			"the %zu ranges that are to be mapped for the first device are %zu "
			"mappings, more than the %" PRIu64 " that the kernel has left: unmap some, "
			"or raise dma_entry_limit of vfio_iommu_type1",
			restore->count, calls, left);
}

static void add_unit(struct restore *restore, const struct vfb_mapping *first, uint64_t offset,
		     uint64_t bytes)
{
	if (restore->units)
		restore->units[restore->unit_count] =
			(struct unit){.first = first, .offset = offset, .bytes = bytes};
	restore->unit_count++;
}

/* A mapping by itself is cut where the kernel maps in parallel. */
static void add_single(struct restore *restore, struct vfb_mapping *mapping)
{
	uint64_t align = vfb_memory_granule(mapping->memory), end;

	mapping->head = mapping->piece = mapping->bytes;
	if (restore->space->iommu->ops->parallel) {
		mapping->piece = vfb_memory_piece_bytes(mapping->memory, mapping->offset,
							mapping->bytes, 0);
		end = round_up(mapping->offset + mapping->piece, align);
		if (end - mapping->offset < mapping->bytes)
			mapping->head = end - mapping->offset;
	}
	mapping->entries = 0;
	for (uint64_t offset = 0, bytes = mapping->head; offset < mapping->bytes;
	     offset += bytes, bytes = mapping->piece) {
		if (bytes > mapping->bytes - offset)
			bytes = mapping->bytes - offset;
		add_unit(restore, mapping, offset, bytes);
		mapping->entries++;
	}
}

/* Counts the units, or fills them in. */
static void add_units(struct restore *restore)
{
	size_t next;

	restore->unit_count = 0;
	for (size_t i = 0; i < restore->count; i = next) {
		struct vfb_mapping *first = &restore->mappings[i];
		uint64_t bytes = first->bytes;

		for (next = i + 1; restore->mappings[next - 1].joined; next++) {
			bytes += restore->mappings[next].bytes;
			restore->mappings[next].entries = 0;
		}
		if (next == i + 1) {
			add_single(restore, first);
			continue;
		}
		add_unit(restore, first, 0, bytes);
		first->entries = 1;
	}
}

static void run_units(struct vfb_task *task)
{
	struct restore *restore = container_of(task, struct runner, task)->restore;
	size_t next;

	while ((next = atomic_fetch_add(&restore->next_unit, 1)) < restore->unit_count &&
	       !vfb_job_stopped(&restore->job)) {
		struct unit *unit = &restore->units[next];
		const struct vfb_mapping *first = unit->first;
		int error = vfb_space_map_one(restore->space, first->memory,
					      first->offset + unit->offset, unit->bytes,
					      first->iova + unit->offset, first->flags);

		unit->mapped = !error;
		if (error)
			vfb_job_fail(&restore->job, error, true);
	}
	vfb_job_release(&restore->job);
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

static void free_restore(struct restore *restore)
{
	free(restore->mappings);
	free(restore->units);
	free(restore->runners);
}

static int map_units(struct restore *restore)
{
	struct vfb_engine *engine = restore->space->ctx->engine;
	unsigned int width = restore->space->iommu->ops->parallel ? vfb_engine_workers(engine) : 1;
	int error;

	restore->runners = calloc(width, sizeof(*restore->runners));
	if (!restore->runners)
		return vfb_fail_memory();
	error = vfb_job_init(&restore->job, &restore_ops, restore->space->ctx, 0);
	if (error)
		return error;
	for (unsigned int i = 0; i < width; i++) {
		restore->runners[i] = (struct runner){
			.task.run = run_units,
			.restore = restore,
		};
		vfb_job_submit(&restore->job, &restore->runners[i].task, VFB_ANY_NODE);
	}
	vfb_job_release(&restore->job);
	error = vfb_job_wait(&restore->job, UINT64_MAX);
	vfb_job_fini(&restore->job);
	return error;
}

static void unmap_units(struct restore *restore)
{
	for (size_t i = restore->unit_count; i-- > 0;)
		if (restore->units[i].mapped)
			vfb_space_unmap_one(restore->space,
					    restore->units[i].first->iova +
						    restore->units[i].offset,
					    restore->units[i].bytes, 1);
}

/* All of it, or nothing. */
static int map_lost(struct restore *restore)
{
	int error;

	add_units(restore);
	restore->units = calloc(restore->unit_count, sizeof(*restore->units));
	if (!restore->units)
		return vfb_fail_memory();
	add_units(restore);
	error = map_units(restore);
	if (error)
		unmap_units(restore);
	return error;
}

int vfb_space_restore(struct vfb_space *space)
{
	struct restore restore = {
		.space = space,
	};
	int error = take_lost(&restore);

	if (!error)
		error = check_valid(&restore);
	if (!error)
		error = check_entries(&restore);
	if (!error && restore.count)
		error = map_lost(&restore);
	put_lost(&restore, !error);
	free_restore(&restore);
	return error;
}
