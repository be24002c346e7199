/* SPDX-License-Identifier: MIT */
#include "device/batch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"

int vfb_device_batch_init(struct vfb_device_batch *batch, const struct vfb_job_ops *ops,
			  struct vfb_ctx *ctx, size_t count, const struct vfb_batch_opts *opts)
{
	int error;

	batch->ctx = ctx;
	batch->count = count;
	batch->width = opts->width;
	batch->items = calloc(count + 1, sizeof(*batch->items));
	batch->chains = calloc(count + 1, sizeof(*batch->chains));
	error = batch->items && batch->chains ? vfb_job_init(&batch->job, ops, ctx, count) :
						vfb_fail_memory();
	if (error)
		vfb_device_batch_free(batch);
	else
		vfb_job_set_rank(&batch->job, opts->priority, false);
	return error;
}

void vfb_device_batch_free(struct vfb_device_batch *batch)
{
	free(batch->items);
	free(batch->chains);
	batch->items = NULL;
	batch->chains = NULL;
}

int vfb_device_batch_reserve(struct vfb_device_batch *batch)
{
	unsigned int wanted = batch->count ? batch->count : 1;
	int error;

	if (batch->width && batch->width < wanted)
		wanted = batch->width;
	error = vfb_engine_reserve_sleepers(batch->ctx->engine, wanted);
	if (!error)
		batch->sleepers = wanted;
	return error;
}

void vfb_device_batch_release(struct vfb_device_batch *batch)
{
	vfb_engine_release_sleepers(batch->ctx->engine, batch->sleepers);
}

static const struct vfb_pci *batch_pci_at(const void *devices, size_t i)
{
	const struct vfb_device_item *item = (const struct vfb_device_item *)devices + i;

	return item->error ? NULL : &item->pci;
}

void vfb_device_batch_chain(struct vfb_device_batch *batch, vfb_reset_shared_fn *is_shared)
{
	struct vfb_device_item *items = batch->items;

	batch->chain_count = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct vfb_device_item *last;
		size_t first;

		if (items[i].error)
			continue;
		items[i].next_in_chain = NULL;
		first = vfb_reset_set(items, batch_pci_at, i, is_shared);
		if (first == i) {
			batch->chains[batch->chain_count++] = &items[i];
			continue;
		}
		for (last = &items[first]; last->next_in_chain; last = last->next_in_chain)
			;
		last->next_in_chain = &items[i];
	}
}

static void visit_chain(struct vfb_spread *spread, size_t chain)
{
	struct vfb_device_batch *batch = container_of(spread, struct vfb_device_batch, spread);
	struct vfb_device_item *item = batch->chains[chain];

	for (; item; item = item->next_in_chain)
		batch->visit(batch, item);
}

void vfb_device_batch_run(struct vfb_device_batch *batch,
			  void (*visit)(struct vfb_device_batch *batch,
					struct vfb_device_item *item))
{
	batch->visit = visit;
	vfb_spread_sleeping(&batch->spread, &batch->job, batch->chain_count,
			    batch->width ? batch->width : UINT_MAX, visit_chain);
}
