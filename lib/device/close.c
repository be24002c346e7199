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

static void close_item(struct vfb_device_batch *batch, struct vfb_device_item *item)
{
	vfb_device_close_one(item->device);
	atomic_fetch_add(&batch->job.entries_done, 1);
}

static void detach(struct vfb_space *space, const struct vfb_pci *pci)
{
	struct vfb_iommu_device identity = vfb_device_identity(pci);

	vfb_space_detach(space, &identity, true);
}

static bool finish_close(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	for (size_t i = 0; i < batch->count; i++)
		detach(batch->items[i].space, &batch->items[i].pci);
	vfb_device_batch_release(batch);
	return true;
}

static void free_close(struct vfb_job *job)
{
	struct vfb_device_batch *batch = container_of(job, struct vfb_device_batch, job);

	vfb_device_batch_free(batch);
	free(batch);
}

static size_t count_devices(struct vfb_device *const *devices, size_t count)
{
	size_t present = 0;

	for (size_t i = 0; i < count; i++)
		present += devices[i] != NULL;
	return present;
}

/* The context of the devices; NULL, told, when there is not just one. */
static struct vfb_ctx *common_context(struct vfb_device *const *devices, size_t count)
{
	struct vfb_ctx *ctx = NULL;

	for (size_t i = 0; i < count; i++) {
		if (!devices[i])
			continue;
		if (ctx && devices[i]->space->ctx != ctx) {
			vfb_fail(-EINVAL, "the devices are of different contexts: close those of "
					  "each context by themselves");
			return NULL;
		}
		ctx = devices[i]->space->ctx;
	}
	if (!ctx)
		vfb_fail(-EINVAL, "no devices were given to close");
	return ctx;
}

int vfb_devices_close_start(struct vfb_device **devices, size_t count,
			    const struct vfb_batch_opts *opts, struct vfb_job **out)
{
	struct vfb_ctx *ctx = common_context(devices, count);
	size_t present = count_devices(devices, count);
	struct vfb_device_batch *batch;
	struct vfb_batch_opts known;
	int error;

	*out = NULL;
	if (!ctx)
		return -EINVAL;
	error = vfb_batch_opts_read(&known, opts);
	if (error)
		return error;
	batch = calloc(1, sizeof(*batch));
	if (!batch)
		return vfb_fail_memory();
	batch->job.operation = "close";
	batch->job.finish = finish_close;
	batch->job.free = free_close;
	error = vfb_device_batch_init(batch, ctx, present, known.width);
	if (error) {
		free(batch);
		return error;
	}
	error = vfb_device_batch_reserve(batch);
	if (error) {
		vfb_job_fini(&batch->job);
		free_close(&batch->job);
		return error;
	}
	for (size_t i = 0, item = 0; i < count; i++)
		if (devices[i])
			batch->items[item++] = (struct vfb_device_item){
				.pci = devices[i]->pci,
				.space = devices[i]->space,
				.device = devices[i],
			};
	vfb_device_batch_chain(batch);
	*out = &batch->job;
	vfb_device_batch_run(batch, close_item);
	vfb_job_release(&batch->job);
	return 0;
}

void vfb_device_close(struct vfb_device *device)
{
	struct vfb_space *space;
	struct vfb_pci pci;

	if (!device)
		return;
	space = device->space;
	pci = device->pci;
	vfb_device_close_one(device);
	detach(space, &pci);
}

int vfb_devices_close(struct vfb_device **devices, size_t count, const struct vfb_batch_opts *opts)
{
	struct vfb_job *job;
	int error;

	if (!count_devices(devices, count))
		return 0;
	error = vfb_observe_check_wait();
	if (error)
		return error;
	error = vfb_devices_close_start(devices, count, opts, &job);
	if (!error)
		return vfb_job_complete(job);
	for (size_t i = 0; i < count; i++)
		vfb_device_close(devices[i]);
	return error;
}
