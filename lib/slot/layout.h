/* SPDX-License-Identifier: MIT */
#ifndef VFB_LAYOUT_H
#define VFB_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <vfioboost/space.h>

/* No layout has more. */
#define VFB_LAYOUT_RANGES 6

/*
 * The ranges that a VMM maps for a guest of @bytes, with IOVA, offset and length, readable and
 * writable. Returns their number, or reports -EINVAL.
 */
int vfb_layout_ranges(const char *layout, uint64_t bytes,
		      struct vfb_range ranges[VFB_LAYOUT_RANGES]);

#endif
