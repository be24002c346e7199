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
struct vfb_room;
struct vfb_spaces;
struct vfb_turns;
struct vfb_ways;

/* Shared by all objects of a context. Each part is known only to its own layer. */
struct vfb_ctx {
	const struct vfb_sys *sys;
	struct vfb_observer observer;
	/* The value of sys with VFB_CTX_SYSCALLS. */
	struct vfb_timed_sys timed;
	struct vfb_engine *engine;
	struct vfb_deadlines *deadlines;
	struct vfb_pace *pace;
	struct vfb_rates *rates;
	struct vfb_room *room;
	struct vfb_spaces *spaces;
	struct vfb_turns *turns;
	struct vfb_ways *ways;
	/* What precedes is read by each call, what follows written by each job. */
	char apart[VFB_CACHE_LINE];
	/* Number of objects. The context cannot be destroyed before them. */
	atomic_uint objects;
};

/* vfb_ctx_create() with other system calls than those of the running kernel. */
int vfb_ctx_create_with(const struct vfb_sys *sys, const struct vfb_ctx_opts *opts,
			struct vfb_ctx **out);

#endif
