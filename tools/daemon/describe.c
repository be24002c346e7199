/* SPDX-License-Identifier: MIT */
/* What is written down about a slot, and a slot from that, after a crash. */
#include <stdlib.h>
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

static bool has_same_devices(const struct slot_class *config, unsigned int index,
			     const struct vfb_wire_grant *grant)
{
	size_t first = (size_t)index * config->devices_per_slot;

	if (!grant->device_count)
		return true;
	for (size_t i = 0; i < grant->device_count; i++)
		if (first + i >= config->device_count ||
		    strcmp(config->devices[first + i], grant->devices[i]))
			return false;
	return true;
}

struct slot *pool_restore(struct pool *pool, const struct vfb_wire_status *status,
			  const struct vfb_wire_grant *grant, const int *fds, size_t count)
{
	struct pool_class *class = pool_find_class(pool, status->class_name);
	const char *number = strrchr(status->slot, '-');

	/* The configuration has changed since. */
	if (class && status->state == VFB_WIRE_READY && !pool_grant_fits(&class->config, grant))
		return NULL;
	for (unsigned int i = 0; class && number && i < MAX_SLOTS; i++) {
		struct slot *slot = &class->slots[i];

		if (slot->state != VFB_WIRE_EMPTY || !has_same_devices(&class->config, i, grant))
			continue;
		memcpy(slot->name, status->slot, sizeof(slot->name));
		slot->number = strtoull(number + 1, NULL, 10);
		if (slot->number > pool->last_number)
			pool->last_number = slot->number;
		slot->grant = *grant;
		memcpy(slot->fds, fds, count * sizeof(*fds));
		slot->fd_count = count;
		slot->filled_bytes = class->config.bytes;
		slot->pid = status->state == VFB_WIRE_TAKEN ? status->pid : 0;
		slot->uid = status->uid;
		memcpy(slot->why, status->why, sizeof(slot->why));
		slot->released = !count;
		slot->restored = true;
		pool_slot_used(slot);
		slot->state = status->state;
		slot->since_ns = pool->host->now(pool->host);
		return slot;
	}
	return NULL;
}
