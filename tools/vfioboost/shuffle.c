/* SPDX-License-Identifier: MIT */
#include "shuffle.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t *shuffle_offsets(size_t count, uint64_t step)
{
	uint64_t *offsets = calloc(count, sizeof(*offsets));

	if (!offsets) {
		perror("vfioboost");
		return NULL;
	}
	srand48(1);
	for (size_t i = 0; i < count; i++) {
		size_t other = lrand48() % (i + 1);

		offsets[i] = offsets[other];
		offsets[other] = i * step;
	}
	return offsets;
}
