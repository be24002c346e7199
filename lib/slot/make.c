/* SPDX-License-Identifier: MIT */
/* Making a slot: what vfioboost-fill does beforehand, and a cold start at the last moment. */
#include <errno.h>
#include <string.h>

#include "context.h"
#include "device/device.h"
#include "observe/error.h"
#include "options.h"
#include "slot/slot.h"

#define PROGRESS_NS UINT64_C(200000000)

static int make_check(const struct vfb_slot_cold *cold, unsigned int level)
{
	if (!cold->bytes)
		return vfb_fail(-EINVAL, "a slot needs memory: set vfb_slot_cold.bytes");
	if (cold->device_count > VFB_WIRE_DEVICES)
		return vfb_fail(-EINVAL, "a slot has at most %d devices, not %zu", VFB_WIRE_DEVICES,
				cold->device_count);
	if (level && !cold->device_count)
		return vfb_fail(-EINVAL, "a slot of level %u needs a device", level);
	return vfb_entries_check(cold->devices, cold->device_count, "devices");
}

static int make_memory(struct vfb_slot *slot, const struct vfb_slot_cold *cold)
{
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = cold->bytes,
		.page_size = cold->page_size,
		.kind = VFB_MEMORY_MEMFD,
		.policy = cold->node_count ? VFB_NUMA_BIND : VFB_NUMA_DEFAULT,
		.nodes = cold->nodes,
		.node_count = cold->node_count,
		.flags = VFB_MEMORY_NO_DUMP,
	};

	return vfb_memory_create(slot->ctx, &opts, &slot->memory);
}

static int wait_with_progress(struct vfb_job *job, vfb_slot_progress *progress, void *arg)
{
	struct vfb_job_progress state = VFB_JOB_PROGRESS_INIT;
	int error;

	for (;;) {
		error = vfb_job_wait(job, progress ? PROGRESS_NS : UINT64_MAX);
		if (progress && !vfb_job_progress(job, &state))
			progress(state.bytes_done, arg);
		if (!progress || error != -ETIMEDOUT)
			return error;
	}
}

static int populate_only(struct vfb_slot *slot, vfb_slot_progress *progress, void *arg)
{
	struct vfb_job *job;
	int error = vfb_memory_populate_start(&slot->memory, 1, &job);

	if (error)
		return error;
	error = wait_with_progress(job, progress, arg);
	vfb_job_destroy(job);
	return error;
}

static int slot_make_space(struct vfb_slot *slot, const struct vfb_slot_cold *cold,
			   unsigned int level)
{
	struct vfb_space_opts opts = {
		.size = sizeof(opts),
		.backend = cold->backend,
		.page_size = cold->page_size,
		.kind = VFB_MEMORY_MEMFD,
		.flags = level == 1 ? VFB_SPACE_KEEP_DOMAIN : 0,
	};
	int count = vfb_layout_ranges(cold->layout ? cold->layout : "flat", cold->bytes,
				      slot->ranges);

	if (count < 0)
		return count;
	slot->range_count = count;
	for (int i = 0; i < count; i++)
		slot->ranges[i].memory = slot->memory;
	return vfb_space_create(slot->ctx, &opts, &slot->space);
}

/* Maps wait for the domain, which appears with the first device. */
static int slot_open_and_map(struct vfb_slot *slot, const struct vfb_slot_cold *cold,
			     vfb_slot_progress *progress, void *arg)
{
	struct vfb_device_request requests[VFB_WIRE_DEVICES] = {{0}};
	struct vfb_job *open, *map = NULL;
	char text[VFB_ERROR_BYTES];
	int error, map_error;

	for (size_t i = 0; i < cold->device_count; i++)
		requests[i].address = cold->devices[i];
	error = vfb_devices_open_start(slot->space, requests, cold->device_count, NULL, &open);
	if (error)
		return error;
	map_error = vfb_space_map_start(slot->space, slot->ranges, slot->range_count, NULL, &map);
	if (map_error)
		vfb_job_cancel(open);
	error = vfb_job_wait(open, UINT64_MAX);
	if (error)
		vfb_error_save(text);
	if (error && map)
		vfb_job_cancel(map);
	vfb_job_destroy(open);
	for (size_t i = 0; i < cold->device_count; i++)
		if (requests[i].device)
			slot->devices[slot->device_count++] = requests[i].device;
	if (!map)
		return map_error;
	map_error = wait_with_progress(map, progress, arg);
	vfb_job_destroy(map);
	/* A map that was cancelled because a device failed is not the reason. */
	if (error)
		vfb_error_restore(text);
	return error ? error : map_error;
}

/* With VFB_SPACE_KEEP_DOMAIN the domain and all that is mapped there stay. */
static int slot_close_devices(struct vfb_slot *slot)
{
	int error = vfb_devices_close(slot->devices, slot->device_count, NULL);

	if (!error)
		slot->device_count = 0;
	return error;
}

static int make_all(struct vfb_slot *slot, const struct vfb_slot_cold *cold, unsigned int level,
		    vfb_slot_progress *progress, void *arg)
{
	int error = make_memory(slot, cold);

	if (error)
		return error;
	if (level == 0)
		return populate_only(slot, progress, arg);
	error = slot_make_space(slot, cold, level);
	if (!error)
		error = slot_open_and_map(slot, cold, progress, arg);
	if (error)
		return error;
	slot->domain = slot->devices[0]->domain;
	return level == 1 ? slot_close_devices(slot) : 0;
}

int vfb_slot_make(struct vfb_ctx *ctx, const struct vfb_slot_cold *cold, unsigned int level,
		  vfb_slot_progress *progress, void *arg, struct vfb_slot **out)
{
	struct vfb_slot_cold known = VFB_SLOT_COLD_INIT;
	char text[VFB_ERROR_BYTES];
	struct vfb_slot *slot;
	int error = vfb_struct_read(&known, sizeof(known), cold);

	*out = NULL;
	if (!error)
		error = make_check(&known, level);
	if (error)
		return error;
	slot = vfb_slot_new(ctx);
	if (!slot)
		return -ENOMEM;
	error = make_all(slot, &known, level, progress, arg);
	if (error) {
		vfb_error_save(text);
		vfb_slot_release(slot);
		vfb_error_restore(text);
		return error;
	}
	*out = slot;
	return 0;
}
