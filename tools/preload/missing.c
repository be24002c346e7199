/* SPDX-License-Identifier: MIT */
#include "missing.h"

#include "preload.h"

/* With more of them everything counts as registered. */
#define MISSING_MAX 64

static struct uffdio_range missing_ranges[MISSING_MAX];
/* Under preload_lock; read without where there are none. */
static atomic_size_t missing_count;

void missing_add(const struct uffdio_register *range)
{
	pthread_mutex_lock(&preload_lock);
	if (missing_count < MISSING_MAX)
		missing_ranges[missing_count] = range->range;
	if (missing_count <= MISSING_MAX)
		missing_count++;
	pthread_mutex_unlock(&preload_lock);
}

bool missing_overlaps(const void *address, uint64_t bytes)
{
	uint64_t begin = (uintptr_t)address;
	bool found = false;

	if (!missing_count)
		return false;
	pthread_mutex_lock(&preload_lock);
	found = missing_count > MISSING_MAX;
	for (size_t i = 0; i < missing_count && !found; i++)
		found = missing_ranges[i].start < begin + bytes &&
			begin < missing_ranges[i].start + missing_ranges[i].len;
	pthread_mutex_unlock(&preload_lock);
	return found;
}
