/* SPDX-License-Identifier: MIT */
/*
 * Closing devices: chain beside chain, each in turn. Linux 7.0 and later takes a lock of the
 * bridge above a device to reset it, and when another device below that has it, skips the reset.
 */
#include <errno.h>
#include <stdlib.h>

#include "container_of.h"
#include "device/batch.h"
#include "observe/error.h"
#include "options.h"

static void close_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	vfb_device_close_one(item->device);
	atomic_store(&item->closed, true);
	atomic_fetch_add(&batch->job.entries_done, 1);
	vfb_job_announce(&batch->job);
}

static int close_entry_status(struct vfb_job *job, size_t entry)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	return atomic_load(&batch->items[entry].closed) ? 0 : -EINPROGRESS;
}

static void expire_close(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);
	const char *first = NULL;
	size_t open = 0;

	for (size_t i = 0; i < batch->count; i++) {
		if (atomic_load(&batch->items[i].closed))
			continue;
		first = first ? first : batch->items[i].pci.address;
		open++;
	}
	if (open)
		vfb_fail(-ETIMEDOUT,
			 "%zu of %zu devices are not closed yet, %s among them: they continue to "
			 "close, and a VFB_PHASE_CLOSE event reports each; increase timeout_ns to "
			 "wait for them",
			 open, batch->count, first);
	else
		vfb_fail(-ETIMEDOUT, "the devices are closed, but not detached yet: that goes on; "
				     "to wait for it, allow more time (timeout_ns)");
	vfb_job_end_late(job);
}

/* What has been closed leaves its space; its group, unless that is the caller's. */
static void close_detach(struct vfb_ctx *ctx, const struct vfb_device_item *item)
{
	struct vfb_iommu_device identity = vfb_device_identity(&item->pci);

	if (!item->adopted) {
		vfb_space_detach(item->space, &identity, true);
		return;
	}
	if (item->space)
		vfb_space_leave(item->space, item->pci.address);
	atomic_fetch_sub(&ctx->objects, 1);
}

static bool finish_close(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	for (size_t i = 0; i < batch->count; i++)
		close_detach(batch->ctx, &batch->items[i]);
	vfb_device_batch_release(batch);
	vfb_job_settle(job);
	return true;
}

static void free_close(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	vfb_device_batch_free(batch);
	free(batch);
}

static const struct vfb_job_ops close_ops = {
	.operation = "close",
	.finish = finish_close,
	.free = free_close,
	.expire = expire_close,
	.entry_status = close_entry_status,
};

static size_t count_devices(struct vfb_device *const *devices, size_t count)
{
	size_t present = 0;

	for (size_t i = 0; i < count; i++)
		present += devices[i] != NULL;
	return present;
}

/* Checks that they have one context, which is returned, and that none occurs twice. */
static int close_check_devices(struct vfb_device *const *devices, size_t count,
			       struct vfb_ctx **ctx)
{
	*ctx = NULL;
	for (size_t i = 0; i < count; i++) {
		if (!devices[i])
			continue;
		if (*ctx && devices[i]->ctx != *ctx)
			return vfb_fail(-EINVAL, "the devices are of different contexts: close "
						 "those of each context by themselves");
		*ctx = devices[i]->ctx;
		for (size_t other = 0; other < i; other++)
			if (devices[other] == devices[i])
				return vfb_fail(-EINVAL,
						"device %s is there twice, as entries %zu and %zu: "
						"a device is closed once",
						devices[i]->pci.address, other, i);
	}
	return *ctx ? 0 : vfb_fail(-EINVAL, "no devices were given to close");
}

/* Whether the device was not being closed yet. */
static bool close_claim(struct vfb_device *device)
{
	return !atomic_exchange(&device->closing, true);
}

/* All, or none. */
static int claim_all(struct vfb_device *const *devices, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int error = devices[i] ? vfb_observer_check_process(&devices[i]->ctx->observer) : 0;

		if (error)
			return error;
		if (!devices[i] || close_claim(devices[i]))
			continue;
		for (size_t other = 0; other < i; other++)
			if (devices[other])
				atomic_store(&devices[other]->closing, false);
		return vfb_fail(-EALREADY,
				"device %s is being closed already: wait for that job instead",
				devices[i]->pci.address);
	}
	return 0;
}

static void unclaim_all(struct vfb_device *const *devices, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (devices[i])
			atomic_store(&devices[i]->closing, false);
}

static struct vfb_device_item item_of(struct vfb_device *device)
{
	return (struct vfb_device_item){
		.pci = device->pci,
		.space = device->space,
		.device = device,
		.adopted = device->adopted,
	};
}

static void close_fill_batch(struct vfb_device_batch *batch, struct vfb_device *const *devices,
			     size_t count)
{
	struct vfb_device_item *item = batch->items;

	for (size_t i = 0; i < count; i++)
		if (devices[i])
			*item++ = item_of(devices[i]);
	vfb_device_batch_chain(batch, vfb_reset_is_shared);
}

static int close_create_batch(struct vfb_ctx *ctx, struct vfb_device *const *devices, size_t count,
			      const struct vfb_batch_opts *opts, struct vfb_device_batch **out)
{
	struct vfb_device_batch *batch = calloc(1, sizeof(*batch));
	int error;

	if (!batch)
		return vfb_fail_memory();
	error = vfb_device_batch_init(batch, &close_ops, ctx, count_devices(devices, count), opts);
	if (error) {
		free(batch);
		return error;
	}
	close_fill_batch(batch, devices, count);
	error = vfb_job_set_timeout(&batch->job, opts->timeout_ns);
	if (!error)
		error = vfb_device_batch_reserve(batch);
	if (error) {
		vfb_job_fini(&batch->job);
		free_close(&batch->job);
		return error;
	}
	*out = batch;
	return 0;
}

int vfb_devices_close_start(struct vfb_device **devices, size_t count,
			    const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_device_batch *batch = NULL;
	struct vfb_batch_opts known;
	struct vfb_ctx *ctx;
	int error;

	*out = NULL;
	error = vfb_batch_read(&known, opts, devices, count);
	if (!error)
		error = close_check_devices(devices, count, &ctx);
	if (!error)
		error = claim_all(devices, count);
	if (error)
		return error;
	error = close_create_batch(ctx, devices, count, &known, &batch);
	if (error) {
		unclaim_all(devices, count);
		return error;
	}
	for (size_t i = 0; i < count; i++)
		devices[i] = NULL;
	*out = &batch->job;
	vfb_device_batch_run(batch, close_item);
	vfb_job_release(&batch->job);
	return 0;
}

int vfb_device_close(struct vfb_device *device)
{
	struct vfb_device_item item;
	struct vfb_ctx *ctx;
	int error;

	if (!device)
		return 0;
	error = claim_all(&device, 1);
	if (error)
		return error;
	ctx = device->ctx;
	item = item_of(device);
	vfb_device_close_one(device);
	close_detach(ctx, &item);
	return 0;
}

int vfb_devices_close(struct vfb_device **devices, size_t count, const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;
	int error;

	error = vfb_entries_check(devices, count, "devices");
	if (error)
		return error;
	if (!count_devices(devices, count))
		return 0;
	error = vfb_observe_check_wait();
	if (error)
		return error;
	error = vfb_devices_close_start(devices, count, opts, &job);
	if (!error)
		return vfb_job_complete(job);
	if (error != -ENOMEM && error != -EMFILE && error != -ENFILE && error != -EAGAIN)
		return error;
	for (size_t i = 0; i < count; i++) {
		vfb_device_close(devices[i]);
		devices[i] = NULL;
	}
	return error;
}
