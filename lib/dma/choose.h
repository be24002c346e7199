/* SPDX-License-Identifier: MIT */
#ifndef VFB_CHOOSE_H
#define VFB_CHOOSE_H

#include <pthread.h>
#include <vfioboost/space.h>

#define VFB_REASON_BYTES 256

struct vfb_ctx;

/* What mapping was measured to cost in a context. */
struct vfb_rates {
	pthread_mutex_t lock;
	/* Nanoseconds for a GiB; 0: not measured. */
	double ns_per_gib[VFB_PAGE_MIXED + 1][VFB_BACKEND_IOMMUFD + 1];
};

void vfb_rates_init(struct vfb_rates *rates);
void vfb_rates_destroy(struct vfb_rates *rates);

/* The backend for VFB_BACKEND_AUTO, and why. */
enum vfb_backend vfb_choose_backend(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
				    char reason[VFB_REASON_BYTES]);

#endif
