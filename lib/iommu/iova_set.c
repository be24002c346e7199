/* SPDX-License-Identifier: MIT */
#include "iommu/iova_set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

int vfb_iova_set_init(struct vfb_iova_set *set)
{
	*set = (struct vfb_iova_set){.ranges = malloc(sizeof(*set->ranges))};
	if (!set->ranges)
		return vfb_fail_memory();
	set->ranges[0] = (struct vfb_iova_range){0, UINT64_MAX};
	set->count = 1;
	set->room = 1;
	return 0;
}

void vfb_iova_set_free(struct vfb_iova_set *set)
{
	free(set->ranges);
	*set = (struct vfb_iova_set){0};
}

/* Room for one more range. */
static int iova_set_grow(struct vfb_iova_set *set)
{
	size_t room = 2 * set->room + 4;
	struct vfb_iova_range *grown;

	if (set->count < set->room)
		return 0;
	grown = reallocarray(set->ranges, room, sizeof(*grown));
	if (!grown)
		return vfb_fail_memory();
	set->ranges = grown;
	set->room = room;
	return 0;
}

/* The index of the first range that ends at or after @iova. */
static size_t iova_set_find(const struct vfb_iova_set *set, uint64_t iova)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (set->ranges[middle].last < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Replaces @removed ranges at @at by @added. */
static void iova_set_splice(struct vfb_iova_set *set, size_t at, size_t removed,
			    const struct vfb_iova_range *added, size_t added_count)
{
	memmove(set->ranges + at + added_count, set->ranges + at + removed,
		(set->count - at - removed) * sizeof(*set->ranges));
	memcpy(set->ranges + at, added, added_count * sizeof(*added));
	set->count = set->count - removed + added_count;
}

int vfb_iova_set_exclude(struct vfb_iova_set *set, uint64_t first, uint64_t last)
{
	size_t at = iova_set_find(set, first), end = at, parts = 0;
	struct vfb_iova_range left[2];
	int error = iova_set_grow(set);

	if (error)
		return error;
	while (end < set->count && set->ranges[end].first <= last)
		end++;
	if (end == at)
		return 0;
	if (set->ranges[at].first < first)
		left[parts++] = (struct vfb_iova_range){set->ranges[at].first, first - 1};
	if (set->ranges[end - 1].last > last)
		left[parts++] = (struct vfb_iova_range){last + 1, set->ranges[end - 1].last};
	iova_set_splice(set, at, end - at, left, parts);
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct vfb_iova_range *left = a, *right = b;

	return (left->first > right->first) - (left->first < right->first);
}

/* Removes what is between the sorted ranges, before the first and behind the last. */
static int exclude_gaps(struct vfb_iova_set *set, const struct vfb_iova_range *sorted, size_t count)
{
	uint64_t next = 0;
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		if (sorted[i].first > next)
			error = vfb_iova_set_exclude(set, next, sorted[i].first - 1);
		if (sorted[i].last == UINT64_MAX)
			return error;
		if (sorted[i].last >= next)
			next = sorted[i].last + 1;
	}
	return error ? error : vfb_iova_set_exclude(set, next, UINT64_MAX);
}

int vfb_iova_set_restrict(struct vfb_iova_set *set, const struct vfb_iova_range *ranges,
			  size_t count)
{
	struct vfb_iova_range *sorted = calloc(count + 1, sizeof(*sorted));
	int error;

	if (!sorted)
		return vfb_fail_memory();
	if (count)
		memcpy(sorted, ranges, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_ranges);
	error = exclude_gaps(set, sorted, count);
	free(sorted);
	return error;
}

bool vfb_iova_ranges_contain(const struct vfb_iova_range *ranges, size_t count, uint64_t first,
			     uint64_t last)
{
	for (size_t i = 0; i < count; i++)
		if (first >= ranges[i].first && last <= ranges[i].last)
			return true;
	return false;
}

struct vfb_iova_text vfb_iova_ranges_text(const struct vfb_iova_range *ranges, size_t count)
{
	struct vfb_iova_text all = {.text = ""};
	size_t length = 0;

	for (size_t i = 0; i < count && length + 48 < sizeof(all.text); i++)
		length += snprintf(all.text + length, sizeof(all.text) - length,
				   " 0x%" PRIx64 "-0x%" PRIx64, ranges[i].first, ranges[i].last);
	return all;
}
