/* SPDX-License-Identifier: MIT */
#ifndef VFB_CONTEXT_H
#define VFB_CONTEXT_H

#include <stdatomic.h>
#include <vfioboost/context.h>

#include "observe/span.h"
#include "observe/syscalls.h"
#include "sys/sys.h"

struct vfb_deadlines;
struct vfb_engine;
struct vfb_pace;
struct vfb_rates;
struct vfb_turns;

/* What every object of a context uses. Each part is known to its own layer only. */
struct vfb_ctx {
	const struct vfb_sys *sys;
	struct vfb_observer observer;
	/* What sys is with VFB_CTX_SYSCALLS. */
	struct vfb_timed_sys timed;
	struct vfb_engine *engine;
	struct vfb_deadlines *deadlines;
	struct vfb_pace *pace;
	struct vfb_rates *rates;
	struct vfb_turns *turns;
	/* Objects that exist: the context cannot be destroyed before they are. */
	atomic_uint objects;
};

/* vfb_ctx_create() over other system calls than the running kernel's. */
int vfb_ctx_create_with(const struct vfb_sys *sys, const struct vfb_ctx_opts *opts,
			struct vfb_ctx **out);

#endif
