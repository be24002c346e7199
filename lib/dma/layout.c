/* SPDX-License-Identifier: MIT */
/* Laying out memory around what devices cannot use. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost/layout.h>

#include "dma/expected.h"
#include "dma/space.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"
#include "round.h"

/* What a part can have of a valid range. */
struct gap {
	uint64_t first, bytes;
};

/* The gaps of a part by IOVA, and their indexes by size, the largest first. */
struct gaps {
	struct gap *gaps;
	size_t *by_size;
	size_t count;
};

struct layout {
	struct vfb_iova_set set;
	struct vfb_range *ranges;
	size_t capacity, count;
};

static int part_check(const struct vfb_layout_part *part, size_t index, uint64_t alignment)
{
	if (part->reserved[0] || part->reserved[1])
		return vfb_fail(-EINVAL,
				"part %zu of the layout has reserved fields set: set "
				"unused fields to zero",
				index);
	if (alignment & (alignment - 1))
		return vfb_fail(-EINVAL,
				"part %zu of the layout has an alignment of 0x%" PRIx64
				", which is not a power of two",
				index, alignment);
	if (!part->bytes || part->bytes % alignment)
		return vfb_fail(-EINVAL,
				"part %zu of the layout has %s, which is not a multiple of its "
				"alignment, %s",
				index, vfb_size_text(part->bytes).text,
				vfb_size_text(alignment).text);
	if (part->last && part->last < part->first)
		return vfb_fail(-EINVAL,
				"part %zu of the layout may be at 0x%" PRIx64 "-0x%" PRIx64
				", which ends before it begins",
				index, part->first, part->last);
	return 0;
}

/* The aligned part of a range within the bounds; the last page of 64 bits is left out. */
static struct gap gap_of(const struct vfb_iova_range *range, const struct vfb_layout_part *part,
			 uint64_t alignment)
{
	uint64_t bound = part->last ? part->last : UINT64_MAX, end;
	uint64_t first = range->first > part->first ? range->first : part->first;
	uint64_t last = range->last < bound ? range->last : bound;

	if (first > last || first > UINT64_MAX - alignment)
		return (struct gap){0};
	first = round_up(first, alignment);
	end = round_down(last == UINT64_MAX ? last : last + 1, alignment);
	return (struct gap){first, end > first ? end - first : 0};
}

static int compare_sizes(const void *a, const void *b, void *arg)
{
	const struct gap *gaps = arg;
	size_t left = *(const size_t *)a, right = *(const size_t *)b;

	if (gaps[left].bytes != gaps[right].bytes)
		return gaps[left].bytes < gaps[right].bytes ? 1 : -1;
	return (left > right) - (left < right);
}

static int gaps_find(struct gaps *gaps, const struct vfb_iova_set *set,
		     const struct vfb_layout_part *part, uint64_t alignment)
{
	*gaps = (struct gaps){
		.gaps = calloc(set->count + 1, sizeof(*gaps->gaps)),
		.by_size = calloc(set->count + 1, sizeof(*gaps->by_size)),
	};
	if (!gaps->gaps || !gaps->by_size)
		return vfb_fail_memory();
	for (size_t i = 0; i < set->count; i++) {
		struct gap gap = gap_of(&set->ranges[i], part, alignment);

		if (!gap.bytes)
			continue;
		gaps->by_size[gaps->count] = gaps->count;
		gaps->gaps[gaps->count++] = gap;
	}
	qsort_r(gaps->by_size, gaps->count, sizeof(*gaps->by_size), compare_sizes, gaps->gaps);
	return 0;
}

static void gaps_free(struct gaps *gaps)
{
	free(gaps->gaps);
	free(gaps->by_size);
}

/* How many gaps are needed for @bytes, the largest ones; 0 if all are too small. */
static size_t gaps_needed(const struct gaps *gaps, uint64_t bytes)
{
	for (size_t i = 0; i < gaps->count; i++) {
		uint64_t size = gaps->gaps[gaps->by_size[i]].bytes;

		if (size >= bytes)
			return i + 1;
		bytes -= size;
	}
	return 0;
}

/* Whether @bytes fit into the largest @wanted gaps from the index @first on. */
static bool gaps_suffice(const struct gaps *gaps, size_t first, size_t wanted, uint64_t bytes)
{
	for (size_t i = 0; i < gaps->count && wanted && bytes; i++) {
		uint64_t size = gaps->gaps[gaps->by_size[i]].bytes;

		if (gaps->by_size[i] < first)
			continue;
		bytes -= size < bytes ? size : bytes;
		wanted--;
	}
	return !bytes;
}

static int layout_place(struct layout *layout, const struct vfb_layout_part *part,
			const struct gap *gap, uint64_t offset, uint64_t bytes)
{
	if (layout->count < layout->capacity)
		layout->ranges[layout->count] = (struct vfb_range){
			.memory = part->memory,
			.offset = offset,
			.bytes = bytes,
			.iova = gap->first,
		};
	layout->count++;
	return vfb_iova_set_exclude(&layout->set, gap->first, gap->first + (bytes - 1));
}

/* Takes the lowest gaps with which as few as @wanted suffice. */
static int layout_fill(struct layout *layout, const struct vfb_layout_part *part,
		       const struct gaps *gaps, size_t wanted)
{
	uint64_t left = part->bytes;
	int error = 0;

	for (size_t i = 0; i < gaps->count && left && !error; i++) {
		const struct gap *gap = &gaps->gaps[i];
		uint64_t bytes = gap->bytes < left ? gap->bytes : left;

		if (!gaps_suffice(gaps, i + 1, wanted - 1, left - bytes))
			continue;
		error = layout_place(layout, part, gap, part->bytes - left, bytes);
		left -= bytes;
		wanted--;
	}
	return error;
}

static int report_no_space(const struct vfb_layout_part *part, size_t index,
			   const struct gaps *gaps, uint64_t alignment)
{
	uint64_t sum = 0;
	char last[32] = " on";

	for (size_t i = 0; i < gaps->count; i++)
		sum += gaps->gaps[i].bytes;
	if (part->last)
		snprintf(last, sizeof(last), " to 0x%" PRIx64, part->last);
	return vfb_fail(-ENOSPC,
			"part %zu of the layout has %s, but from IOVA 0x%" PRIx64
			"%s the devices can only use %s more, in %zu range%s aligned to %s (see "
			"reserved_regions of their IOMMU groups, and the width of the IOMMU)",
			index, vfb_size_text(part->bytes).text, part->first, last,
			vfb_size_text(sum).text, gaps->count, gaps->count == 1 ? "" : "s",
			vfb_size_text(alignment).text);
}

static int layout_add(struct layout *layout, const struct vfb_layout_part *part, size_t index)
{
	uint64_t alignment = part->alignment ? part->alignment : 64 * KIB;
	struct gaps gaps = {0};
	size_t wanted;
	int error = part_check(part, index, alignment);

	if (!error)
		error = gaps_find(&gaps, &layout->set, part, alignment);
	if (!error) {
		wanted = gaps_needed(&gaps, part->bytes);
		error = wanted ? layout_fill(layout, part, &gaps, wanted) :
				 report_no_space(part, index, &gaps, alignment);
	}
	gaps_free(&gaps);
	return error;
}

static int layout_check_valid(const struct vfb_layout_opts *opts)
{
	int error = vfb_entries_check(opts->valid, opts->valid_count, "valid ranges");

	for (size_t i = 0; i < opts->valid_count && !error; i++)
		if (opts->valid[i].last < opts->valid[i].first)
			error = vfb_fail(-EINVAL,
					 "valid range %zu, 0x%" PRIx64 "-0x%" PRIx64
					 ", ends before it begins",
					 i, opts->valid[i].first, opts->valid[i].last);
	return error;
}

static int layout_begin(struct layout *layout, const struct vfb_layout_opts *opts)
{
	int error = layout_check_valid(opts);

	if (!error)
		error = vfb_iova_set_init(&layout->set);
	if (!error && opts->valid_count)
		error = vfb_iova_set_restrict(&layout->set, opts->valid, opts->valid_count);
	if (!error && opts->space)
		error = vfb_space_restrict_iovas(opts->space, &layout->set);
	return error;
}

int vfb_layout(const struct vfb_layout_opts *opts, const struct vfb_layout_part *parts,
	       size_t part_count, struct vfb_range *ranges, size_t capacity)
{
	struct layout layout = {.ranges = ranges, .capacity = capacity};
	struct vfb_layout_opts known = VFB_LAYOUT_OPTS_INIT;
	int error = vfb_struct_read(&known, sizeof(known), opts);

	if (!error)
		error = vfb_entries_check(parts, part_count, "parts");
	if (!error)
		error = layout_begin(&layout, &known);
	for (size_t i = 0; i < part_count && !error; i++)
		error = layout_add(&layout, &parts[i], i);
	vfb_iova_set_free(&layout.set);
	if (!error && layout.count > INT_MAX)
		error = vfb_fail(-ENOSPC, "the layout has more ranges than can be counted");
	return error ? error : (int)layout.count;
}
