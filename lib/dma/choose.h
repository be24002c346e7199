/* SPDX-License-Identifier: MIT */
#ifndef VFB_CHOOSE_H
#define VFB_CHOOSE_H

#include <vfioboost/space.h>

#define VFB_REASON_BYTES 256

struct vfb_ctx;

/* Chooses the backend for VFB_BACKEND_AUTO, and describes why. */
enum vfb_backend vfb_choose_backend(struct vfb_ctx *ctx, const struct vfb_space_opts *opts,
				    char reason[VFB_REASON_BYTES]);

#endif
