/* SPDX-License-Identifier: MIT */
#include "dma/range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dma/expected.h"
#include "dma/spaces.h"
#include "iommu/iova_set.h"
#include "memory/memory.h"
#include "observe/error.h"

#define KNOWN_FLAGS                                                                     \
	(VFB_RANGE_READ | VFB_RANGE_WRITE | VFB_RANGE_ANY_IOVA | VFB_RANGE_BACKGROUND | \
	 VFB_RANGE_HOST_ONLY | VFB_RANGE_POPULATE | VFB_RANGE_ON_DEMAND)

struct vfb_range_name vfb_range_name(const struct vfb_range *range, size_t entry)
{
	struct vfb_range_name name;

	if (vfb_range_has_iova(range))
		snprintf(name.text, sizeof(name.text), "entry %zu (IOVA 0x%" PRIx64 ", %s)", entry,
			 range->iova, vfb_size_text(range->bytes).text);
	else
		snprintf(name.text, sizeof(name.text), "entry %zu (any IOVA, %s)", entry,
			 vfb_size_text(range->bytes).text);
	return name;
}

int vfb_range_overlaps(const struct vfb_range *range, size_t entry, const char *what, uint64_t iova)
{
	return vfb_fail(-EEXIST, "%s overlaps %s at IOVA 0x%" PRIx64,
			vfb_range_name(range, entry).text, what, iova);
}

/* The page of the memory, where the range begins. */
static uint64_t window_of(const struct vfb_range *range)
{
	uint64_t page = vfb_memory_page_at(range->memory, range->offset);

	if (range->window_bytes)
		return range->window_bytes;
	return page > 2 * MIB ? page : 2 * MIB;
}

/* @entry: all else was checked. */
static int check_window(const struct vfb_range *range, size_t entry)
{
	uint64_t page = vfb_memory_page_at(range->memory, range->offset), bytes = window_of(range);

	if (!(range->flags & VFB_RANGE_ON_DEMAND))
		return 0;
	if (range->flags & VFB_RANGE_HOST_ONLY || range->memory->region)
		return vfb_fail(-EINVAL, "%s cannot be mapped on demand (VFB_RANGE_ON_DEMAND): %s",
				vfb_range_name(range, entry).text,
				range->memory->region ? "it is a BAR" :
							"it is left out of the IOMMU "
							"(VFB_RANGE_HOST_ONLY)");
	if (bytes & (bytes - 1) || bytes < page)
		return vfb_fail(-EINVAL,
				"%s has windows of 0x%" PRIx64 " bytes: they must be a power of "
				"two, and at least a page of the memory, %s",
				vfb_range_name(range, entry).text, bytes, vfb_size_text(page).text);
	if ((range->offset | range->bytes) & (bytes - 1))
		return vfb_fail(-EINVAL,
				"%s at offset 0x%" PRIx64 " does not consist of windows of %s: "
				"offset and size must be multiples of vfb_range.window_bytes",
				vfb_range_name(range, entry).text, range->offset,
				vfb_size_text(bytes).text);
	return 0;
}

int vfb_range_check(const struct vfb_space *space, const struct vfb_range *range, size_t entry)
{
	uint64_t iova = range->flags & VFB_RANGE_ANY_IOVA ? 0 : range->iova;
	uint64_t base = space->ctx->sys->base_page(space->ctx->sys);
	const struct vfb_memory *memory = range->memory;

	if (range->flags & ~KNOWN_FLAGS || range->reserved[0] || range->reserved[1] ||
	    (range->window_bytes && !(range->flags & VFB_RANGE_ON_DEMAND)))
		return vfb_fail(-EINVAL,
				"%s has unknown flags 0x%x or reserved fields set: set unused "
				"fields to zero",
				vfb_range_name(range, entry).text, range->flags);
	if (!memory)
		return vfb_fail(-EINVAL, "%s has no memory: it is NULL",
				vfb_range_name(range, entry).text);
	if (memory->ctx != space->ctx)
		return vfb_fail(-EINVAL, "%s has memory of another context than the space",
				vfb_range_name(range, entry).text);
	if (!range->bytes)
		return vfb_fail(-EINVAL, "%s is empty: it must have at least one page",
				vfb_range_name(range, entry).text);
	if (range->offset > memory->bytes || range->bytes > memory->bytes - range->offset)
		return vfb_fail(-EINVAL,
				"%s ends beyond its memory: offset 0x%" PRIx64
				", the memory has %s",
				vfb_range_name(range, entry).text, range->offset,
				vfb_size_text(memory->bytes).text);
	if ((iova | range->offset | range->bytes) & (base - 1))
		return vfb_fail(-EINVAL,
				"%s at offset 0x%" PRIx64
				" is not aligned to pages of %s: IOVA, size and offset must be",
				vfb_range_name(range, entry).text, range->offset,
				vfb_size_text(base).text);
	if (iova + (range->bytes - 1) < iova)
		return vfb_fail(-EINVAL, "%s ends beyond the 64-bit address space",
				vfb_range_name(range, entry).text);
	return check_window(range, entry);
}

bool vfb_iova_is_valid_locked(const struct vfb_space *space, uint64_t first, uint64_t last)
{
	return vfb_iova_ranges_contain(space->ranges, space->range_count, first, last);
}

int vfb_range_check_domain_locked(const struct vfb_space *space, const struct vfb_range *range,
				  size_t entry)
{
	bool has_iova = !(range->flags & VFB_RANGE_ANY_IOVA);
	const struct vfb_iova_range *valid;
	size_t count;

	if (range->flags & VFB_RANGE_HOST_ONLY)
		return 0;
	if (space->domain &&
	    (range->offset | range->bytes | (has_iova ? range->iova : 0) | range->window_bytes) &
		    (space->alignment - 1))
		return vfb_fail(-EINVAL, "%s is not aligned to the IOMMU's pages of %s",
				vfb_range_name(range, entry).text,
				vfb_size_text(space->alignment).text);
	valid = vfb_space_valid_locked(space, &count);
	if (has_iova && valid &&
	    !vfb_iova_ranges_contain(valid, count, range->iova, range->iova + (range->bytes - 1)))
		return vfb_fail(
			-EINVAL,
			"%s is outside of the IOVAs that the devices can use:%s: lay memory out "
			"around them (vfb_layout())",
			vfb_range_name(range, entry).text, vfb_iova_ranges_text(valid, count).text);
	return 0;
}

int vfb_range_check_held_locked(const struct vfb_space *space, const struct vfb_range *range,
				size_t entry)
{
	if (!vfb_spaces_is_held(space->ctx->spaces, range->memory->address + range->offset,
				range->bytes))
		return 0;
	return vfb_fail(-EBUSY,
			"%s: pages of it are being discarded or restored by another job: wait for "
			"that",
			vfb_range_name(range, entry).text);
}

/* The largest page that the IOMMU could use for the range, to align its IOVA to. */
static uint64_t best_alignment(const struct vfb_memory *memory, uint64_t bytes, uint64_t smallest)
{
	uint64_t page = memory->bulk_bytes || memory->region ? GIB : memory->page_bytes;

	if (page > 2 * MIB && bytes >= page)
		return page;
	if (bytes >= 2 * MIB)
		return 2 * MIB;
	return smallest;
}

/* Finds an IOVA for a part of memory. */
static bool find_gap_locked(struct vfb_space *space, const struct vfb_memory *memory,
			    uint64_t offset, uint64_t bytes, uint64_t *iova)
{
	const struct vfb_iova_range *ranges;
	size_t range_count;
	uint64_t smallest = space->domain ? space->alignment :
					    space->ctx->sys->base_page(space->ctx->sys);
	uint64_t alignments[] = {best_alignment(memory, bytes, smallest), smallest};
	/* BARs are aligned to their size, so offsets are congruent to physical addresses. */
	uint64_t address = memory->region ? offset : (uintptr_t)memory->address + offset;

	ranges = vfb_space_valid_locked(space, &range_count);
	if (!ranges) {
		ranges = &space->iommu->ops->usual;
		range_count = 1;
	}
	for (size_t i = 0; i < 2; i++)
		if (alignments[i] >= smallest &&
		    vfb_index_find_gap(&space->index, ranges, range_count, bytes, address,
				       alignments[i], iova))
			return true;
	return false;
}

int vfb_range_find_gap_locked(struct vfb_space *space, struct vfb_range *range, size_t entry)
{
	if (find_gap_locked(space, range->memory, range->offset, range->bytes, &range->iova))
		return 0;
	return vfb_fail(-ENOSPC, "%s: no free IOVAs are left for it",
			vfb_range_name(range, entry).text);
}

int vfb_range_find_iova(struct vfb_space *space, const struct vfb_memory *memory, uint64_t *iova)
{
	bool found;

	pthread_mutex_lock(&space->lock);
	found = find_gap_locked(space, memory, 0, memory->bytes, iova);
	pthread_mutex_unlock(&space->lock);
	return found ? 0 :
		       vfb_fail(-ENOSPC, "no free IOVAs are left for %s",
				vfb_size_text(memory->bytes).text);
}

struct vfb_mapping *vfb_range_mapping(const struct vfb_space *space, const struct vfb_range *range)
{
	struct vfb_mapping *mapping = malloc(sizeof(*mapping));

	if (!mapping)
		return NULL;
	*mapping = (struct vfb_mapping){
		.at = {.iova = range->iova, .bytes = range->bytes},
		.memory = range->memory,
		.offset = range->offset,
		.flags = range->flags,
		.state = VFB_MAPPING_BEGUN,
	};
	if (!vfb_range_is_on_demand(space, range))
		return mapping;
	mapping->demand = vfb_demand_create(range, window_of(range));
	if (mapping->demand)
		return mapping;
	free(mapping);
	return NULL;
}
