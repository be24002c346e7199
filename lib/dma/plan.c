/* SPDX-License-Identifier: MIT */
#include "dma/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dma/range.h"
#include "memory/memory.h"
#include "observe/error.h"

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int by_iova(const void *a, const void *b)
{
	const struct vfb_range *const *left = a, *const *right = b;

	return compare((*left)->iova, (*right)->iova);
}

static int by_turn(const void *a, const void *b)
{
	const struct vfb_range *const *left = a, *const *right = b;
	uint32_t background = VFB_RANGE_BACKGROUND;
	int order = compare((*left)->flags & background, (*right)->flags & background);

	if (!order)
		order = ((*right)->priority > (*left)->priority) -
			((*right)->priority < (*left)->priority);
	if (!order)
		order = compare((*left)->flags & VFB_RANGE_ANY_IOVA,
				(*right)->flags & VFB_RANGE_ANY_IOVA);
	if (!order && vfb_range_has_iova(*left))
		order = compare((*left)->iova, (*right)->iova);
	/* Without an IOVA: in the order of the batch. */
	return order ? order : compare((uintptr_t)*left, (uintptr_t)*right);
}

/* What an invalid range means: the end of the batch, or that the range is skipped. */
struct refusal {
	bool *skip;
	void (*failed)(void *arg, int error);
	void *arg;
};

static int refuse(const struct refusal *refusal, struct vfb_range *ranges, size_t entry, int error)
{
	ranges[entry].status = error;
	refusal->skip[entry] = true;
	if (!refusal->failed)
		return error;
	refusal->failed(refusal->arg, error);
	return 0;
}

/* Checks each range by itself. */
static int check_ranges(const struct vfb_space *space, struct vfb_range *ranges, size_t count,
			const struct refusal *refusal)
{
	for (size_t i = 0; i < count; i++) {
		int error = vfb_range_check(space, &ranges[i], i);

		if (error)
			error = refuse(refusal, ranges, i, error);
		if (error)
			return error;
	}
	return 0;
}

/* Checks ranges with fixed IOVAs against their predecessors. */
static int check_overlaps(struct vfb_range *ranges, struct vfb_range **sorted, size_t count,
			  const struct refusal *refusal)
{
	const struct vfb_range *before = NULL;

	for (size_t i = 0; i < count; i++) {
		struct vfb_range *range = sorted[i];
		size_t entry = range - ranges;
		int error;

		if (!before || range->iova > before->iova + (before->bytes - 1)) {
			before = range;
			continue;
		}
		error = refuse(refusal, ranges, entry,
			       vfb_range_overlaps(range, entry, "another entry", before->iova));
		if (error)
			return error;
	}
	return 0;
}

/* Checks ranges against the existing mappings. */
static int check_mapped_locked(const struct vfb_space *space, struct vfb_range *ranges,
			       struct vfb_range **sorted, size_t count,
			       const struct refusal *refusal)
{
	for (size_t i = 0; i < count; i++) {
		struct vfb_range *range = sorted[i];
		const struct vfb_mapping *mapping = vfb_index_at(&space->index, range->iova);
		size_t entry = range - ranges;
		int error;

		if (!mapping || mapping->at.iova > range->iova + (range->bytes - 1))
			continue;
		error = refuse(refusal, ranges, entry,
			       vfb_range_overlaps(range, entry, "what is mapped",
						  mapping->at.iova));
		if (error)
			return error;
	}
	return 0;
}

static bool ranges_are_neighbours(const struct vfb_range *before, const struct vfb_range *range)
{
	return vfb_range_has_iova(before) && vfb_range_has_iova(range) &&
	       before->memory == range->memory && before->flags == range->flags &&
	       before->priority == range->priority && before->iova + before->bytes == range->iova &&
	       before->offset + before->bytes == range->offset;
}

static void find_runs(struct vfb_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (!i || !ranges_are_neighbours(plan->order[i - 1], plan->order[i]))
			plan->runs[plan->run_count++] = (struct vfb_plan_run){.first = i};
		plan->runs[plan->run_count - 1].count++;
		plan->runs[plan->run_count - 1].bytes += plan->order[i]->bytes;
	}
}

static size_t collect(struct vfb_range *ranges, size_t count, const bool *skip, bool fixed_only,
		      struct vfb_range **out)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (!skip[i] && (!fixed_only || vfb_range_has_iova(&ranges[i])))
			out[found++] = &ranges[i];
	return found;
}

int vfb_plan_make_locked(struct vfb_plan *plan, const struct vfb_space *space,
			 struct vfb_range *ranges, size_t count, bool *skip,
			 void (*failed)(void *arg, int error), void *arg)
{
	struct refusal refusal = {skip, failed, arg};
	size_t fixed;
	int error;

	*plan = (struct vfb_plan){
		.order = calloc(count + 1, sizeof(*plan->order)),
		.runs = calloc(count + 1, sizeof(*plan->runs)),
	};
	if (!plan->order || !plan->runs)
		return vfb_fail_memory();
	error = check_ranges(space, ranges, count, &refusal);
	if (error)
		return error;
	fixed = collect(ranges, count, skip, true, plan->order);
	qsort(plan->order, fixed, sizeof(*plan->order), by_iova);
	error = check_overlaps(ranges, plan->order, fixed, &refusal);
	if (!error)
		error = check_mapped_locked(space, ranges, plan->order, fixed, &refusal);
	if (error)
		return error;
	plan->count = collect(ranges, count, skip, false, plan->order);
	qsort(plan->order, plan->count, sizeof(*plan->order), by_turn);
	find_runs(plan);
	return 0;
}

void vfb_plan_free(struct vfb_plan *plan)
{
	free(plan->order);
	free(plan->runs);
	*plan = (struct vfb_plan){0};
}
