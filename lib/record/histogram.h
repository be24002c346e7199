/* SPDX-License-Identifier: MIT */
#ifndef VFB_HISTOGRAM_H
#define VFB_HISTOGRAM_H

#include <stdint.h>

/* Each power of two is cut into so many buckets of one width. */
#define VFB_HISTOGRAM_LINEAR  16
#define VFB_HISTOGRAM_BUCKETS (61 * VFB_HISTOGRAM_LINEAR)

/* A log-linear histogram of durations; zero is empty. */
struct vfb_histogram {
	uint64_t count, total, min, max;
	uint32_t buckets[VFB_HISTOGRAM_BUCKETS];
};

void vfb_histogram_add(struct vfb_histogram *histogram, uint64_t value);
void vfb_histogram_merge(struct vfb_histogram *into, const struct vfb_histogram *other);

/* The value that @permille of the values don't exceed, within a sixteenth; 0 when it is empty. */
uint64_t vfb_histogram_quantile(const struct vfb_histogram *histogram, unsigned int permille);

/* How many values are at most @value, as far as the buckets tell. */
uint64_t vfb_histogram_up_to(const struct vfb_histogram *histogram, uint64_t value);

#endif
