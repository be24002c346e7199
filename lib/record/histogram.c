/* SPDX-License-Identifier: MIT */
#include "record/histogram.h"

/* Each value below 16 has its own bucket. Above, the leading five bits select the bucket. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < VFB_HISTOGRAM_LINEAR)
		return value;
	shift = 63 - __builtin_clzll(value) - 4;
	return (shift + 1) * VFB_HISTOGRAM_LINEAR + (value >> shift) - VFB_HISTOGRAM_LINEAR;
}

/* The largest value that falls into a bucket. */
static uint64_t last_of(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < VFB_HISTOGRAM_LINEAR)
		return bucket;
	shift = bucket / VFB_HISTOGRAM_LINEAR - 1;
	return (((uint64_t)bucket % VFB_HISTOGRAM_LINEAR + VFB_HISTOGRAM_LINEAR + 1) << shift) - 1;
}

void vfb_histogram_add(struct vfb_histogram *histogram, uint64_t value)
{
	if (!histogram->count || value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->count++;
	histogram->total += value;
	histogram->buckets[bucket_of(value)]++;
}

void vfb_histogram_merge(struct vfb_histogram *into, const struct vfb_histogram *other)
{
	if (!other->count)
		return;
	if (!into->count || other->min < into->min)
		into->min = other->min;
	if (other->max > into->max)
		into->max = other->max;
	into->count += other->count;
	into->total += other->total;
	for (unsigned int i = 0; i < VFB_HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += other->buckets[i];
}

uint64_t vfb_histogram_quantile(const struct vfb_histogram *histogram, unsigned int permille)
{
	/* The smallest rank, from 1, that covers the fraction. */
	uint64_t rank = (histogram->count * permille + 999) / 1000, seen = 0, value;

	for (unsigned int i = 0; i < VFB_HISTOGRAM_BUCKETS && histogram->count; i++) {
		seen += histogram->buckets[i];
		if (seen < rank)
			continue;
		value = last_of(i);
		if (value < histogram->min)
			return histogram->min;
		return value < histogram->max ? value : histogram->max;
	}
	return 0;
}

uint64_t vfb_histogram_up_to(const struct vfb_histogram *histogram, uint64_t value)
{
	uint64_t seen = 0;

	for (unsigned int i = 0; i < VFB_HISTOGRAM_BUCKETS && last_of(i) <= value; i++)
		seen += histogram->buckets[i];
	return seen;
}
