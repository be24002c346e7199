/* SPDX-License-Identifier: MIT */
#include "dma/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory/memory.h"
#include "observe/error.h"

#define KNOWN_FLAGS (VFB_RANGE_READ | VFB_RANGE_WRITE | VFB_RANGE_ANY_IOVA)

/* "entry 3 (IOVA 0x1000, 8 KiB)", the beginning of every text here. */
struct name {
	char text[96];
};

static struct name name_of(const struct vfb_range *range, size_t entry)
{
	struct name name;

	if (range->flags & VFB_RANGE_ANY_IOVA)
		snprintf(name.text, sizeof(name.text), "entry %zu (any IOVA, %s)", entry,
			 vfb_size_text(range->bytes).text);
	else
		snprintf(name.text, sizeof(name.text), "entry %zu (IOVA 0x%" PRIx64 ", %s)", entry,
			 range->iova, vfb_size_text(range->bytes).text);
	return name;
}

static bool has_iova(const struct vfb_range *range)
{
	return !(range->flags & VFB_RANGE_ANY_IOVA);
}

int vfb_plan_check(const struct vfb_space *space, const struct vfb_range *range, size_t entry)
{
	const struct vfb_memory *memory = range->memory;
	uint64_t iova = has_iova(range) ? range->iova : 0;
	struct name name = name_of(range, entry);

	if (range->flags & ~KNOWN_FLAGS || range->reserved[0] || range->reserved[1])
		return vfb_fail(-EINVAL,
				"%s has flags 0x%x or reserved fields set that this "
				"version does not know",
				name.text, range->flags);
	if (!memory)
		return vfb_fail(-EINVAL, "%s has no memory", name.text);
	if (memory->ctx != space->ctx)
		return vfb_fail(-EINVAL, "%s has memory of another context", name.text);
	if (!range->bytes)
		return vfb_fail(-EINVAL, "%s is empty: at least one page is needed", name.text);
	if (range->offset > memory->bytes || range->bytes > memory->bytes - range->offset)
		return vfb_fail(-EINVAL,
				"%s ends beyond its memory: offset 0x%" PRIx64
				", the memory has %s",
				name.text, range->offset, vfb_size_text(memory->bytes).text);
	if ((iova | range->offset | range->bytes) & (4 * KIB - 1))
		return vfb_fail(-EINVAL,
				"%s at offset 0x%" PRIx64 " is not aligned to pages of "
				"4 KiB",
				name.text, range->offset);
	if (iova + (range->bytes - 1) < iova)
		return vfb_fail(-EINVAL, "%s ends beyond 64 bits", name.text);
	return 0;
}

static int by_iova(const void *a, const void *b)
{
	const struct vfb_range *const *left = a, *const *right = b;

	return ((*left)->iova > (*right)->iova) - ((*left)->iova < (*right)->iova);
}

static struct vfb_mapping begin_mapping(const struct vfb_range *range)
{
	return (struct vfb_mapping){
		.iova = range->iova,
		.bytes = range->bytes,
		.memory = range->memory,
		.offset = range->offset,
		.flags = range->flags,
		.state = VFB_MAPPING_BEGUN,
	};
}

static int overlaps(const struct vfb_range *ranges, const struct vfb_range *range, const char *what,
		    uint64_t iova)
{
	return vfb_fail(-EEXIST, "%s overlaps %s at IOVA 0x%" PRIx64,
			name_of(range, range - ranges).text, what, iova);
}

/* @sorted: the entries with fixed IOVAs, @added: room for as many mappings. */
static int add_sorted(struct vfb_space *space, const struct vfb_range *ranges,
		      const struct vfb_range **sorted, size_t count, struct vfb_mapping *added,
		      size_t *culprit)
{
	size_t clash;
	int error;

	for (size_t i = 0; i < count; i++) {
		added[i] = begin_mapping(sorted[i]);
		*culprit = sorted[i] - ranges;
		if (i && sorted[i]->iova <= sorted[i - 1]->iova + (sorted[i - 1]->bytes - 1))
			return overlaps(ranges, sorted[i], "another entry", sorted[i - 1]->iova);
	}
	pthread_mutex_lock(&space->lock);
	error = vfb_index_add(&space->index, added, count, &clash);
	pthread_mutex_unlock(&space->lock);
	if (error == -EEXIST) {
		*culprit = sorted[clash] - ranges;
		return overlaps(ranges, sorted[clash], "what is mapped", sorted[clash]->iova);
	}
	return error ? vfb_fail_memory() : 0;
}

int vfb_plan_take_fixed(struct vfb_space *space, const struct vfb_range *ranges, size_t count,
			const bool *skip, size_t *culprit)
{
	const struct vfb_range **sorted = calloc(count + 1, sizeof(*sorted));
	struct vfb_mapping *added = calloc(count + 1, sizeof(*added));
	size_t fixed = 0;
	int error;

	*culprit = 0;
	for (size_t i = 0; sorted && i < count; i++)
		if (!skip[i] && has_iova(&ranges[i]))
			sorted[fixed++] = &ranges[i];
	if (sorted && added) {
		qsort(sorted, fixed, sizeof(*sorted), by_iova);
		error = add_sorted(space, ranges, sorted, fixed, added, culprit);
	} else {
		error = vfb_fail_memory();
	}
	free(sorted);
	free(added);
	return error;
}

static bool is_valid(const struct vfb_space *space, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < space->range_count; i++)
		if (first >= space->ranges[i].first && last <= space->ranges[i].last)
			return true;
	return false;
}

static int outside(const struct vfb_space *space, const struct vfb_range *range, size_t entry)
{
	char valid[160] = "";
	size_t length = 0;

	for (size_t i = 0; i < space->range_count && length < sizeof(valid) - 48; i++)
		length += snprintf(valid + length, sizeof(valid) - length,
				   " 0x%" PRIx64 "-0x%" PRIx64, space->ranges[i].first,
				   space->ranges[i].last);
	return vfb_fail(-EINVAL, "%s is outside of the IOVAs that the devices can use:%s",
			name_of(range, entry).text, valid);
}

/* The largest page that the IOMMU could use for the range: its IOVA should fit that. */
static uint64_t best_alignment(const struct vfb_space *space, const struct vfb_range *range)
{
	if (range->memory->page_bytes == GIB && range->bytes >= GIB)
		return GIB;
	if (range->bytes >= 2 * MIB)
		return 2 * MIB;
	return space->alignment;
}

static int take_gap(struct vfb_space *space, struct vfb_range *range, size_t entry)
{
	uintptr_t address = (uintptr_t)range->memory->address + range->offset;
	uint64_t alignments[] = {best_alignment(space, range), space->alignment};
	struct vfb_mapping mapping;
	size_t clash;

	for (size_t i = 0; i < 2; i++) {
		if (!vfb_index_find_gap(&space->index, space->ranges, space->range_count,
					range->bytes, address, alignments[i], &range->iova))
			continue;
		mapping = begin_mapping(range);
		return vfb_index_add(&space->index, &mapping, 1, &clash) ? vfb_fail_memory() : 0;
	}
	return vfb_fail(-ENOSPC, "%s: no free IOVAs are left for it", name_of(range, entry).text);
}

int vfb_plan_place(struct vfb_space *space, struct vfb_range *range, size_t entry)
{
	uint64_t mask = space->alignment - 1;

	if ((range->offset | range->bytes | (has_iova(range) ? range->iova : 0)) & mask)
		return vfb_fail(-EINVAL, "%s is not aligned to the IOMMU's pages of %s",
				name_of(range, entry).text, vfb_size_text(space->alignment).text);
	if (!has_iova(range))
		return take_gap(space, range, entry);
	if (!is_valid(space, range->iova, range->iova + (range->bytes - 1)))
		return outside(space, range, entry);
	return 0;
}
