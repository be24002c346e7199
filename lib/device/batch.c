/* SPDX-License-Identifier: MIT */
#include "device/batch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "container_of.h"

int vfb_device_batch_init(struct vfb_device_batch *batch, const struct vfb_job_ops *ops,
			  struct vfb_ctx *ctx, size_t count, unsigned int width)
{
	int error;

	batch->ctx = ctx;
	batch->count = count;
	batch->width = width;
	batch->items = calloc(count + 1, sizeof(*batch->items));
	batch->chains = calloc(count + 1, sizeof(*batch->chains));
	error = batch->items && batch->chains ? vfb_job_init(&batch->job, ops, ctx, count) :
						vfb_fail_memory();
	if (error)
		vfb_device_batch_free(batch);
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

static struct vfb_device_chain *find_chain(struct vfb_device_batch *batch,
					   const struct vfb_device_item *item,
					   bool (*belong)(const struct vfb_pci *a,
							  const struct vfb_pci *b))
{
	for (size_t i = 0; i < batch->chain_count; i++)
		if (belong(&batch->chains[i].first->pci, &item->pci))
			return &batch->chains[i];
	return &batch->chains[batch->chain_count];
}

void vfb_device_batch_chain(struct vfb_device_batch *batch,
			    bool (*belong)(const struct vfb_pci *a, const struct vfb_pci *b))
{
	batch->chain_count = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct vfb_device_item *item = &batch->items[i], **link;
		struct vfb_device_chain *chain;

		if (item->error)
			continue;
		item->next_in_chain = NULL;
		chain = find_chain(batch, item, belong);
		if (chain == &batch->chains[batch->chain_count]) {
			chain->first = NULL;
			batch->chain_count++;
		}
		for (link = &chain->first; *link; link = &(*link)->next_in_chain)
			;
		*link = item;
	}
}

static void visit_chain(struct vfb_spread *spread, size_t chain)
{
	struct vfb_device_batch *batch = container_of(spread, struct vfb_device_batch, spread);
	struct vfb_device_item *item = batch->chains[chain].first;

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
