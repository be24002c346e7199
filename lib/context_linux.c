/* SPDX-License-Identifier: MIT */
/* Contexts on the running kernel. libvfioboost-fake has its own of these instead. */
#include "context.h"

int vfb_ctx_create(const struct vfb_ctx_opts *opts, struct vfb_ctx **out)
{
	return vfb_ctx_create_with(&vfb_sys_linux, opts, out);
}
