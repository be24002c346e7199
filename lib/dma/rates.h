/* SPDX-License-Identifier: MIT */
#ifndef VFB_RATES_H
#define VFB_RATES_H

#include <pthread.h>
#include <vfioboost/space.h>

/* The measured times of populating and mapping in a context, in nanoseconds per GiB; 0: not
 * measured. */
struct vfb_rate {
	double populate;
	double map[VFB_BACKEND_SPAPR + 1];
};

struct vfb_rates {
	pthread_mutex_t lock;
	struct vfb_rate all[VFB_PAGE_HUGE + 1];
};

int vfb_rates_create(struct vfb_rates **out);
void vfb_rates_destroy(struct vfb_rates *rates);

struct vfb_rate vfb_rates_get(struct vfb_rates *rates, enum vfb_page_size page_size);
void vfb_rates_set(struct vfb_rates *rates, enum vfb_page_size page_size,
		   const struct vfb_rate *rate);

#endif
