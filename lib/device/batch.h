/* SPDX-License-Identifier: MIT */
#ifndef VFB_DEVICE_BATCH_H
#define VFB_DEVICE_BATCH_H

#include "device/device.h"
#include "device/reset_set.h"
#include "engine/spread.h"

struct vfb_device_batch;

struct vfb_device_item {
	struct vfb_pci pci;
	struct vfb_space *space;
	struct vfb_device *device;
	int error;
	/* It was attached by the caller. */
	bool adopted;
	/* It is attached to its space, and counts there. */
	bool attached, counted;
	/* Of opening: 0, a negative errno, or -EINPROGRESS. */
	atomic_int opened;
	/* It was opened, and the caller gets it. */
	bool kept;
	/* It has been closed. */
	atomic_bool closed;
	/* For an explicit reset. */
	enum vfb_reset_method method;
	bool done;
	/* The next in the batch that shares its reset. */
	struct vfb_device_item *next_in_chain;
};

/*
 * Devices that are opened or closed together: chain beside chain, each on a thread that sleeps
 * while its device is reset.
 */
struct vfb_device_batch {
	struct vfb_job job;
	struct vfb_ctx *ctx;
	size_t count;
	struct vfb_device_item *items;
	/* The first of each chain: devices that share a reset are visited one after another. */
	struct vfb_device_item **chains;
	size_t chain_count;
	unsigned int width;
	unsigned int sleepers;
	void (*visit)(struct vfb_device_batch *batch, struct vfb_device_item *item);
	struct vfb_spread spread;
};

/* Fills in a batch, with zeroed items. vfb_job_fini() and vfb_device_batch_free() undo it. */
int vfb_device_batch_init(struct vfb_device_batch *batch, const struct vfb_job_ops *ops,
			  struct vfb_ctx *ctx, size_t count, const struct vfb_batch_opts *opts);
void vfb_device_batch_free(struct vfb_device_batch *batch);

/* Reserves threads for it to sleep in, until it ends. */
int vfb_device_batch_reserve(struct vfb_device_batch *batch);
void vfb_device_batch_release(struct vfb_device_batch *batch);

/* Sorts the items without an error into chains, in the order that they have in the batch. */
void vfb_device_batch_chain(struct vfb_device_batch *batch, vfb_reset_shared_fn *is_shared);

/* Visits every chained item; each task holds the job. */
void vfb_device_batch_run(struct vfb_device_batch *batch,
			  void (*visit)(struct vfb_device_batch *batch,
					struct vfb_device_item *item));

#endif
