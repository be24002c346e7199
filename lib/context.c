/* SPDX-License-Identifier: MIT */
#include "context.h"

#include <errno.h>
#include <stdlib.h>

#include "container_of.h"
#include "device/turn.h"
#include "dma/rates.h"
#include "dma/spaces.h"
#include "engine/deadline.h"
#include "engine/engine.h"
#include "memory/pace.h"
#include "memory/room.h"
#include "memory/ways.h"
#include "observe/error.h"
#include "options.h"

/* Bytes per second. A step of populating, which is 2 MiB, must not take minutes. */
#define MIN_RATE (UINT64_C(1) << 20)

const char *vfb_version(void)
{
	return VFB_VERSION;
}

static int create_parts(struct vfb_ctx *ctx, const struct vfb_ctx_opts *opts)
{
	int error = vfb_pace_create(ctx->sys, &ctx->pace);

	if (!error)
		error = vfb_rates_create(&ctx->rates);
	if (!error)
		error = vfb_room_create(ctx->sys, &ctx->room);
	if (!error)
		error = vfb_ways_create(&ctx->ways);
	if (!error)
		error = vfb_spaces_create(&ctx->spaces);
	if (!error)
		error = vfb_turns_create(ctx->sys, &ctx->turns);
	if (!error)
		error = vfb_deadlines_create(ctx->sys, &ctx->deadlines);
	if (!error)
		error = vfb_engine_create(ctx->sys, opts->threads, &ctx->engine);
	if (!error && opts->devices)
		error = vfb_engine_create_all(ctx->engine, opts->devices);
	if (!error && opts->devices)
		error = vfb_deadlines_start(ctx->deadlines);
	return error;
}

/* Destroys the parts that exist, the engine first, since its threads use the others. */
static void destroy_parts(struct vfb_ctx *ctx)
{
	if (ctx->engine)
		vfb_engine_destroy(ctx->engine);
	if (ctx->deadlines)
		vfb_deadlines_destroy(ctx->deadlines);
	vfb_turns_destroy(ctx->turns);
	vfb_ways_destroy(ctx->ways);
	vfb_spaces_destroy(ctx->spaces);
	vfb_room_destroy(ctx->room);
	vfb_rates_destroy(ctx->rates);
	vfb_pace_destroy(ctx->pace);
	vfb_observer_destroy(&ctx->observer);
	free(ctx);
}

int vfb_ctx_create_with(const struct vfb_sys *sys, const struct vfb_ctx_opts *opts,
			struct vfb_ctx **out)
{
	struct vfb_ctx_opts known = VFB_CTX_OPTS_INIT;
	struct vfb_ctx *ctx;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (error)
		return error;
	if (known.flags & ~VFB_CTX_SYSCALLS)
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a context: this version knows 0x%x",
				known.flags, VFB_CTX_SYSCALLS);
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return vfb_fail_memory();
	ctx->sys = sys;
	error = vfb_observer_init(&ctx->observer, sys);
	if (known.flags & VFB_CTX_SYSCALLS) {
		vfb_timed_sys_init(&ctx->timed, sys, &ctx->observer);
		ctx->sys = &ctx->timed.sys;
	}
	if (!error)
		error = create_parts(ctx, &known);
	if (error) {
		destroy_parts(ctx);
		return error;
	}
	*out = ctx;
	return 0;
}

int vfb_ctx_destroy(struct vfb_ctx *ctx)
{
	unsigned int objects;

	int error;

	if (!ctx)
		return 0;
	error = vfb_observer_check_process(&ctx->observer);
	if (error)
		return error;
	objects = atomic_load(&ctx->objects);
	if (objects)
		return vfb_fail(-EBUSY,
				"the context still has %u spaces, memories, devices, jobs or "
				"subscriptions: destroy them first",
				objects);
	destroy_parts(ctx);
	return 0;
}

int vfb_ctx_set_populate_rate(struct vfb_ctx *ctx, uint64_t bytes_per_s)
{
	if (bytes_per_s < MIN_RATE)
		return vfb_fail(-EINVAL,
				"a limit of %s per second for populating is too low: it must be "
				"at least %s, or UINT64_MAX for none",
				vfb_size_text(bytes_per_s).text, vfb_size_text(MIN_RATE).text);
	vfb_pace_set(ctx->pace, bytes_per_s);
	return 0;
}

int vfb_subscribe(struct vfb_ctx *ctx, const struct vfb_filter *filter, vfb_event_fn fn, void *data,
		  struct vfb_subscription **out)
{
	struct vfb_filter known = VFB_FILTER_INIT;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), filter);
	if (!error)
		error = vfb_observer_subscribe(&ctx->observer, &known, fn, data, out);
	if (!error)
		atomic_fetch_add(&ctx->objects, 1);
	return error;
}

void vfb_unsubscribe(struct vfb_subscription *subscription)
{
	struct vfb_observer *observer;

	if (!subscription)
		return;
	observer = vfb_observer_unsubscribe(subscription);
	atomic_fetch_sub(&container_of(observer, struct vfb_ctx, observer)->objects, 1);
}

struct vfb_span *vfb_span_begin(struct vfb_ctx *ctx, const char *name)
{
	if (!vfb_observe_wants(&ctx->observer, VFB_PHASE_USER))
		return NULL;
	return vfb_observer_span_begin(&ctx->observer, name);
}
