/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "pool.h"

void pool_describe(struct pool *pool, const struct slot *slot, struct vfb_wire_status *out)
{
	const struct pool_class *class = slot->owner;

	*out = (struct vfb_wire_status){
		.state = slot->state,
		.level = class->config.level,
		.backend = slot->fd_count ? slot->grant.backend : class->config.backend,
		.page_size = class->config.page_size,
		.bytes = class->config.bytes,
		.filled_bytes = slot->filled_bytes,
		.age_ns = pool->host->now(pool->host) - slot->since_ns,
		.pid = slot->pid,
		.uid = slot->state == VFB_WIRE_TAKEN ? slot->uid : 0,
		.target = class->target,
		.takes = class->takes,
		.misses = class->misses,
		.fills = class->fills,
		.failures = class->failures,
		.fill_ns = class->fill_ns,
	};
	memcpy(out->class_name, class->config.name, sizeof(out->class_name));
	memcpy(out->slot, slot->name, sizeof(out->slot));
	for (size_t i = 0; slot->why[i] && i < sizeof(out->why) - 1; i++)
		out->why[i] = slot->why[i] < ' ' || slot->why[i] > '~' ? ' ' : slot->why[i];
}
