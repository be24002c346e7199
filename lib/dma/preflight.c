/* SPDX-License-Identifier: MIT */
/* Checks for limits that the kernel would otherwise report only after much work. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dma/plan.h"
#include "dma/range.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "sys/rights.h"

/* How much the process has pinned for devices. Returns false if no limit applies to it. */
static bool is_bounded(const struct vfb_space *space, uint64_t *locked)
{
	struct vfb_field field = {.name = space->iommu->ops->locked_key, .base = 10};

	if (vfb_sys_read_fields(space->ctx->sys, "/proc/self/status", &field, 1))
		return false;
	*locked = field.value * KIB;
	return !vfb_sys_is_capable(space->ctx->sys, VFB_CAP_IPC_LOCK);
}

void vfb_memlock_read(const struct vfb_space *space, struct vfb_memlock *memlock)
{
	const struct vfb_sys *sys = space->ctx->sys;

	if (!space->iommu->ops->locked_key || sys->memlock_limit(sys, &memlock->limit) ||
	    memlock->limit == UINT64_MAX || !is_bounded(space, &memlock->locked))
		*memlock = (struct vfb_memlock){.limit = UINT64_MAX};
	else
		/* The kernel counts pages. */
		memlock->limit -= memlock->limit % sys->base_page(sys);
}

int vfb_plan_check_memlock(const struct vfb_plan *plan, const struct vfb_space *space,
			   const struct vfb_memlock *memlock)
{
	uint64_t limit = memlock->limit, locked = memlock->locked, bytes = 0;
	struct vfb_range *first = NULL;

	if (limit == UINT64_MAX)
		return 0;
	for (size_t i = 0; i < plan->count; i++) {
		/* Regions of devices are not counted, and neither is what is not pinned. */
		if (!plan->order[i]->memory->region &&
		    !vfb_range_has_no_call(space, plan->order[i]))
			bytes += plan->order[i]->bytes;
		if (!first && (locked > limit || bytes > limit - locked))
			first = plan->order[i];
	}
	if (!first)
		return 0;
	first->status = -ENOMEM;
	return vfb_fail(-ENOMEM,
			"mapping %s in addition to %s that are locked already needs RLIMIT_MEMLOCK "
			"of at least %s, it is %s: raise it (ulimit -l, LimitMEMLOCK=) or grant "
			"CAP_IPC_LOCK",
			vfb_size_text(bytes).text, vfb_size_text(locked).text,
			vfb_size_text(bytes + locked).text, vfb_size_text(limit).text);
}

static uint64_t count_blocks(const struct vfb_plan *plan, const struct vfb_space *space)
{
	uint64_t count = 0;

	for (size_t i = 0; i < plan->count; i++) {
		const struct vfb_range *range = plan->order[i];

		if (!vfb_range_has_no_call(space, range))
			count += vfb_space_count_blocks(space, range->memory, range->offset,
							range->bytes);
	}
	return count;
}

static uint64_t count_joined_blocks(const struct vfb_plan *plan, const struct vfb_space *space)
{
	uint64_t count = 0;

	for (size_t i = 0; i < plan->run_count; i++) {
		const struct vfb_range *range = plan->order[plan->runs[i].first];

		if (!vfb_range_has_no_call(space, range))
			count += vfb_space_count_blocks(space, range->memory, range->offset,
							plan->runs[i].bytes);
	}
	return count;
}

int vfb_plan_check_entries_locked(const struct vfb_plan *plan, const struct vfb_space *space,
				  bool *joined)
{
	uint64_t left = space->entries_left, needed;

	if (!*joined && count_blocks(plan, space) <= left)
		return 0;
	*joined = true;
	needed = count_joined_blocks(plan, space);
	if (needed <= left)
		return 0;
	return vfb_fail(-ENOSPC,
			"%zu ranges need %" PRIu64 " mappings when neighbours are joined%s, more "
			"than the %" PRIu64 " mappings that the kernel has left: map fewer, larger "
			"ranges%s, or raise dma_entry_limit of vfio_iommu_type1",
			plan->count, needed, space->block_bytes ? ", in blocks" : "", left,
			space->block_bytes ? ", in larger blocks" : "");
}

int vfb_ranges_check_room(const struct vfb_space *space, const struct vfb_range *ranges,
			  size_t count)
{
	struct vfb_memory_part *parts = calloc(count, sizeof(*parts));
	size_t used = 0;
	int error;

	if (!parts)
		return count ? vfb_fail_memory() : 0;
	for (size_t i = 0; i < count; i++) {
		const struct vfb_range *range = &ranges[i];

		if (range->memory && vfb_range_is_populated_first(space, range) &&
		    range->offset <= range->memory->bytes &&
		    range->bytes <= range->memory->bytes - range->offset)
			parts[used++] = (struct vfb_memory_part){range->memory, range->offset,
								 range->bytes};
	}
	error = used ? vfb_memory_check_room(parts[0].memory->ctx->sys, parts, used) : 0;
	free(parts);
	return error;
}
