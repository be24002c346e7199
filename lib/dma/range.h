/* SPDX-License-Identifier: MIT */
#ifndef VFB_RANGE_H
#define VFB_RANGE_H

#include "dma/space.h"

/* Checks of a single range of a batch. Errors name the entry. */

/* "entry 3 (IOVA 0x1000, 8 KiB)", the beginning of each error text. */
struct vfb_range_name {
	char text[96];
};

struct vfb_range_name vfb_range_name(const struct vfb_range *range, size_t entry);

static inline bool vfb_range_has_iova(const struct vfb_range *range)
{
	return !(range->flags & VFB_RANGE_ANY_IOVA);
}

/* -EEXIST: it overlaps @what at @iova. */
int vfb_range_overlaps(const struct vfb_range *range, size_t entry, const char *what,
		       uint64_t iova);

/* Checks size, alignment, bounds and flags. */
int vfb_range_check(const struct vfb_space *space, const struct vfb_range *range, size_t entry);

/*
 * Checks a range against the domain, if there is one: alignment, and whether a fixed IOVA is valid.
 * Without one, against what the expected devices can use.
 */
int vfb_range_check_domain_locked(const struct vfb_space *space, const struct vfb_range *range,
				  size_t entry);

/* Whether IOVAs are valid in the domain, which need not be announced yet; both ends inclusive. */
bool vfb_iova_is_valid_locked(const struct vfb_space *space, uint64_t first, uint64_t last);

/* Fails with -EBUSY while pages of the range are being returned or restored. The space's lock
 * must be held until its mapping is in the index. */
int vfb_range_check_held_locked(const struct vfb_space *space, const struct vfb_range *range,
				size_t entry);

/* Finds an IOVA for a range that has none. */
int vfb_range_find_gap_locked(struct vfb_space *space, struct vfb_range *range, size_t entry);

/* Finds an IOVA where all of @memory fits now. Fails with -ENOSPC. */
int vfb_range_find_iova(struct vfb_space *space, const struct vfb_memory *memory, uint64_t *iova);

/* Allocates a mapping for a range, in state BEGUN; NULL if memory is exhausted. */
struct vfb_mapping *vfb_range_mapping(const struct vfb_space *space, const struct vfb_range *range);

/* Whether its windows are mapped when they are touched. */
static inline bool vfb_range_is_on_demand(const struct vfb_space *space,
					  const struct vfb_range *range)
{
	return range->flags & VFB_RANGE_ON_DEMAND && vfb_demands_have_windows(&space->demands);
}

/* Whether no call maps the range: devices never see it, or not yet. */
static inline bool vfb_range_has_no_call(const struct vfb_space *space,
					 const struct vfb_range *range)
{
	return range->flags & VFB_RANGE_HOST_ONLY || vfb_range_is_on_demand(space, range);
}

/* Whether mapping the range includes populating its memory. */
static inline bool vfb_range_is_populated_first(const struct vfb_space *space,
						const struct vfb_range *range)
{
	return !vfb_range_has_no_call(space, range) || range->flags & VFB_RANGE_POPULATE;
}

#endif
