/* SPDX-License-Identifier: MIT */
#ifndef VFB_HISTOGRAM_H
#define VFB_HISTOGRAM_H

#include <stdint.h>

/* Number of buckets of equal width per power of two. */
#define VFB_HISTOGRAM_LINEAR  16
#define VFB_HISTOGRAM_BUCKETS (61 * VFB_HISTOGRAM_LINEAR)

/* A log-linear histogram of durations; zero-initialized it is empty. */
struct vfb_histogram {
	uint64_t count, total, min, max;
	uint32_t buckets[VFB_HISTOGRAM_BUCKETS];
};

void vfb_histogram_add(struct vfb_histogram *histogram, uint64_t value);
void vfb_histogram_merge(struct vfb_histogram *into, const struct vfb_histogram *other);

/* The quantile at @permille, at most 1/16 too large; 0 if the histogram is empty. */
uint64_t vfb_histogram_quantile(const struct vfb_histogram *histogram, unsigned int permille);

/* Number of values up to @value, at the resolution of the buckets. */
uint64_t vfb_histogram_up_to(const struct vfb_histogram *histogram, uint64_t value);

#endif
