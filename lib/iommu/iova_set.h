/* SPDX-License-Identifier: MIT */
#ifndef VFB_IOVA_SET_H
#define VFB_IOVA_SET_H

#include <stdbool.h>
#include <vfioboost/space.h>

/* A set of IOVAs: ranges in order that neither overlap nor touch. Zero is the empty set. */
struct vfb_iova_set {
	struct vfb_iova_range *ranges;
	size_t count, room;
};

/* All IOVAs. Each of these reports -ENOMEM. */
int vfb_iova_set_init(struct vfb_iova_set *set);
void vfb_iova_set_free(struct vfb_iova_set *set);

/* Removes a range, both ends inclusive. */
int vfb_iova_set_exclude(struct vfb_iova_set *set, uint64_t first, uint64_t last);

/* Keeps what is in one of the ranges, which may come in any order and overlap. */
int vfb_iova_set_restrict(struct vfb_iova_set *set, const struct vfb_iova_range *ranges,
			  size_t count);

/* Whether one of the ranges contains all from @first to @last. */
bool vfb_iova_ranges_contain(const struct vfb_iova_range *ranges, size_t count, uint64_t first,
			     uint64_t last);

/* " 0x0-0xfedfffff 0xfef00000-0xffffffffff", as many as there is room for. */
struct vfb_iova_text {
	char text[256];
};

struct vfb_iova_text vfb_iova_ranges_text(const struct vfb_iova_range *ranges, size_t count);

#endif
