/* SPDX-License-Identifier: MIT */
#include "slot/slot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "observe/error.h"
#include "options.h"

struct vfb_slot *vfb_slot_new(struct vfb_ctx *ctx)
{
	struct vfb_slot *slot = calloc(1, sizeof(*slot));

	if (!slot) {
		vfb_fail_memory();
		return NULL;
	}
	slot->ctx = ctx;
	slot->connection = -1;
	atomic_fetch_add(&ctx->objects, 1);
	return slot;
}

static int make_cold(struct vfb_ctx *ctx, const struct vfb_slot_opts *opts, struct vfb_slot **out)
{
	char reason[VFB_ERROR_BYTES];
	int error;

	vfb_error_save(reason);
	error = vfb_slot_make(ctx, opts->cold, opts->cold->device_count ? 2 : 0, NULL, NULL, out);
	if (error)
		return error;
	(*out)->flags = VFB_SLOT_COLD;
	snprintf((*out)->reason, sizeof((*out)->reason), "%s", reason);
	return 0;
}

int vfb_slot_take(struct vfb_ctx *ctx, const struct vfb_slot_opts *opts, struct vfb_slot **out)
{
	struct vfb_slot_opts known = VFB_SLOT_OPTS_INIT;
	int error;

	*out = NULL;
	error = vfb_observer_check_process(&ctx->observer);
	if (!error)
		error = vfb_struct_read(&known, sizeof(known), opts);
	if (error)
		return error;
	if (known.flags & ~VFB_SLOT_OR_COLD)
		return vfb_fail(-EINVAL, "flags 0x%x to take a slot are unknown: 0x%x is",
				known.flags, VFB_SLOT_OR_COLD);
	if (!(known.flags & VFB_SLOT_OR_COLD) != !known.cold)
		return vfb_fail(-EINVAL, "VFB_SLOT_OR_COLD and vfb_slot_opts.cold need each other");
	error = vfb_slot_fetch(ctx, &known, out);
	if (error && known.flags & VFB_SLOT_OR_COLD)
		error = make_cold(ctx, &known, out);
	return error;
}

int vfb_slot_info(const struct vfb_slot *slot, struct vfb_slot_info *info)
{
	struct vfb_slot_info known = {
		.size = sizeof(known),
		.name = slot->name,
		.memory = slot->memory,
		.space = slot->space,
		.ranges = slot->ranges,
		.range_count = slot->range_count,
		.devices = slot->devices,
		.device_count = slot->device_count,
		.flags = slot->flags,
		.reason = slot->reason,
	};

	return vfb_struct_write(info, &known, sizeof(known));
}

/* Adopted devices stay open: nothing takes so long that it is worth threads. */
static int slot_close_devices(struct vfb_slot *slot)
{
	int error = 0;

	while (slot->fd_count && slot->device_count && !error) {
		error = vfb_device_close(slot->devices[slot->device_count - 1]);
		slot->device_count -= !error;
	}
	return error ? error : vfb_devices_close(slot->devices, slot->device_count, NULL);
}

/*
 * Adopted devices stay attached until the daemon, which is about to get the slot back, has detached
 * them. So nothing is unmapped here: a device would still write there.
 */
static int slot_destroy_parts(struct vfb_slot *slot)
{
	int error = slot_close_devices(slot);

	if (error == -EINVAL || error == -EALREADY)
		return error;
	slot->device_count = 0;
	if (slot->space && slot->fd_count && slot->range_count)
		vfb_space_release_addresses(slot->space);
	error = vfb_space_destroy(slot->space);
	if (error)
		return error;
	slot->space = NULL;
	error = vfb_memory_destroy(slot->memory);
	if (!error)
		slot->memory = NULL;
	return error;
}

static void return_slot(const struct vfb_slot *slot)
{
	const struct vfb_sys *sys = slot->ctx->sys;
	union vfb_wire message = {0};
	size_t bytes = vfb_wire_finish(&message, VFB_WIRE_RETURN);

	if (slot->connection < 0)
		return;
	memcpy(message.request.name, slot->name, sizeof(slot->name));
	/* If the daemon does not run any more, it finds out by the end of this process. */
	if (slot->name[0])
		sys->send(sys, slot->connection, &message, bytes);
	sys->close(sys, slot->connection);
}

int vfb_slot_release(struct vfb_slot *slot)
{
	const struct vfb_sys *sys;
	int error;

	if (!slot)
		return 0;
	error = slot_destroy_parts(slot);
	if (error)
		return error;
	sys = slot->ctx->sys;
	for (size_t i = slot->fd_count; i-- > 0;)
		sys->close(sys, slot->fds[i]);
	return_slot(slot);
	atomic_fetch_sub(&slot->ctx->objects, 1);
	free(slot);
	return 0;
}
