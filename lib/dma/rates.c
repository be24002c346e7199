/* SPDX-License-Identifier: MIT */
#include "dma/rates.h"

#include <stdlib.h>

#include "observe/error.h"

int vfb_rates_create(struct vfb_rates **out)
{
	struct vfb_rates *rates = calloc(1, sizeof(*rates));

	if (!rates)
		return vfb_fail_memory();
	pthread_mutex_init(&rates->lock, NULL);
	*out = rates;
	return 0;
}

void vfb_rates_destroy(struct vfb_rates *rates)
{
	if (!rates)
		return;
	pthread_mutex_destroy(&rates->lock);
	free(rates);
}

struct vfb_rate vfb_rates_get(struct vfb_rates *rates, enum vfb_page_size page_size)
{
	struct vfb_rate rate;

	/* Nearly all of its pages are of 1 GiB. */
	if (page_size == VFB_PAGE_MIXED)
		page_size = VFB_PAGE_1G;
	pthread_mutex_lock(&rates->lock);
	rate = rates->all[page_size];
	pthread_mutex_unlock(&rates->lock);
	return rate;
}

void vfb_rates_set(struct vfb_rates *rates, enum vfb_page_size page_size,
		   const struct vfb_rate *rate)
{
	pthread_mutex_lock(&rates->lock);
	rates->all[page_size] = *rate;
	pthread_mutex_unlock(&rates->lock);
}
