/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
/* Until a slot is filled again that could not be filled, or that was released to save memory. */
#define RETRY_FIRST  SECOND
#define RETRY_LAST   (60 * SECOND)
#define REFILL_AFTER (60 * SECOND)
/* As long after a crash a process may receive a slot that was sent to it before. */
#define ARRIVES_IN (10 * SECOND)

/* Why a slot is taken until its process has received it; stored with the slot. */
static const char handing_out[] = "it is being handed out";

bool pool_init(struct pool *pool, struct pool_host *host, const struct slot_class *classes,
	       size_t count)
{
	*pool = (struct pool){.host = host, .class_count = count, .max_fillers = 2};
	pool->classes = calloc(count ? count : 1, sizeof(*pool->classes));
	if (!pool->classes)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct pool_class *class = &pool->classes[i];

		class->config = classes[i];
		class->target = classes[i].count;
		for (unsigned int k = 0; k < MAX_SLOTS; k++) {
			class->slots[k].owner = class;
			class->slots[k].index = k;
		}
	}
	return true;
}

void pool_free(struct pool *pool)
{
	free(pool->classes);
	pool->classes = NULL;
	pool->class_count = 0;
}

struct pool_class *pool_find_class(struct pool *pool, const char *name)
{
	for (size_t i = 0; i < pool->class_count; i++)
		if (!strcmp(pool->classes[i].config.name, name))
			return &pool->classes[i];
	return NULL;
}

/* A step looks at each of these, so that others are not even read. */
static unsigned int slots_of(const struct pool_class *class)
{
	return class->target > class->used ? class->target : class->used;
}

struct slot *pool_find_slot(struct pool *pool, const char *name)
{
	for (size_t i = 0; i < pool->class_count; i++)
		for (unsigned int k = 0; k < slots_of(&pool->classes[i]); k++) {
			struct slot *slot = &pool->classes[i].slots[k];

			if (slot->state != VFB_WIRE_EMPTY && !strcmp(slot->name, name))
				return slot;
		}
	return NULL;
}

void pool_slot_used(struct slot *slot)
{
	if (slot->index >= slot->owner->used)
		slot->owner->used = slot->index + 1;
}

static __attribute__((format(printf, 4, 5))) void enter_state(struct pool *pool, struct slot *slot,
							      enum vfb_wire_state state,
							      const char *why, ...)
{
	va_list args;

	pool_slot_used(slot);
	slot->state = state;
	slot->since_ns = pool->host->now(pool->host);
	va_start(args, why);
	vsnprintf(slot->why, sizeof(slot->why), why, args);
	va_end(args);
	pool->host->store(pool->host, slot);
}

/* ---- Filling ---- */

static void delay_retry(struct pool *pool, struct slot *slot)
{
	uint64_t delay = RETRY_FIRST << (slot->failures < 6 ? slot->failures : 6);

	slot->failures++;
	slot->owner->failures++;
	slot->retry_ns = pool->host->now(pool->host) + (delay < RETRY_LAST ? delay : RETRY_LAST);
}

static void start_fill(struct pool *pool, struct slot *slot)
{
	char why[VFB_WIRE_TEXT] = "";

	slot->number = ++pool->last_number;
	snprintf(slot->name, sizeof(slot->name), "%.41s-%" PRIu64, slot->owner->config.name,
		 slot->number);
	slot->filled_bytes = 0;
	if (pool->host->fill(pool->host, slot, why)) {
		delay_retry(pool, slot);
		slot->released = true;
		/* It may have got as far as to have a cgroup. */
		enter_state(pool, slot, VFB_WIRE_RETURNING, "%s", why);
		return;
	}
	enter_state(pool, slot, VFB_WIRE_FILLING, "%s", "");
}

void pool_fill_progress(struct pool *pool, struct slot *slot, uint64_t bytes)
{
	(void)pool;
	if (slot->state == VFB_WIRE_FILLING && bytes <= slot->owner->config.bytes)
		slot->filled_bytes = bytes;
}

static void begin_return(struct pool *pool, struct slot *slot, const char *why)
{
	slot->pid = 0;
	slot->released = false;
	enter_state(pool, slot, VFB_WIRE_RETURNING, "%s", why);
	pool->host->release(pool->host, slot);
}

bool pool_grant_fits(const struct slot_class *config, const struct vfb_wire_grant *grant)
{
	unsigned int devices = config->level == 2 ? config->devices_per_slot : 0;

	return grant->bytes == config->bytes && grant->page_size == config->page_size &&
	       grant->level == config->level && grant->device_count == devices;
}

bool pool_filled(struct pool *pool, struct slot *slot, const struct vfb_wire_grant *grant,
		 const int *fds, size_t count)
{
	const struct slot_class *config = &slot->owner->config;

	memcpy(slot->fds, fds, count * sizeof(*fds));
	slot->fd_count = count;
	slot->grant = *grant;
	memcpy(slot->grant.slot, slot->name, sizeof(slot->name));
	memcpy(slot->grant.class_name, config->name, sizeof(config->name));
	slot->pid = 0;
	if (!pool_grant_fits(config, grant) || count != vfb_wire_fd_count(grant)) {
		delay_retry(pool, slot);
		begin_return(pool, slot, "it was not filled as it should be");
		return false;
	}
	slot->filled_bytes = config->bytes;
	slot->failures = 0;
	slot->owner->fills++;
	slot->owner->fill_ns = pool->host->now(pool->host) - slot->since_ns;
	enter_state(pool, slot, VFB_WIRE_READY, "%s", "");
	return true;
}

void pool_fill_failed(struct pool *pool, struct slot *slot, int error, const char *text)
{
	delay_retry(pool, slot);
	slot->pid = 0;
	slot->released = true;
	if (error == -EUCLEAN)
		enter_state(pool, slot, VFB_WIRE_QUARANTINE, "%s", text);
	else
		enter_state(pool, slot, VFB_WIRE_RETURNING, "%s", text);
}

/* ---- Taking and returning ---- */

static unsigned int count_of_user(const struct pool_class *class, uid_t uid)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < slots_of(class); i++)
		count += class->slots[i].state == VFB_WIRE_TAKEN && class->slots[i].uid == uid;
	return count;
}

static unsigned int count_in_state(const struct pool_class *class, enum vfb_wire_state state)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < slots_of(class); i++)
		count += class->slots[i].state == state;
	return count;
}

/* The one that became ready last: those that are never needed stay the oldest. */
static struct slot *newest_ready(struct pool_class *class)
{
	struct slot *best = NULL;

	for (unsigned int i = 0; i < slots_of(class); i++) {
		struct slot *slot = &class->slots[i];

		if (slot->state == VFB_WIRE_READY && (!best || slot->since_ns > best->since_ns))
			best = slot;
	}
	return best;
}

struct slot *pool_take(struct pool *pool, struct pool_class *class, pid_t pid, uid_t uid,
		       int *error, char *why)
{
	struct slot *slot = newest_ready(class);

	if (class->config.max_per_user && count_of_user(class, uid) >= class->config.max_per_user) {
		snprintf(why, VFB_WIRE_TEXT,
			 "user %u has %u slots of class %s already: "
			 "max-per-user allows no more",
			 uid, class->config.max_per_user, class->config.name);
		*error = -EDQUOT;
		return NULL;
	}
	if (!slot) {
		snprintf(why, VFB_WIRE_TEXT,
			 "no slot of class %s is ready: %u are being filled, %u taken, "
			 "%u returning, %u in quarantine",
			 class->config.name, count_in_state(class, VFB_WIRE_FILLING),
			 count_in_state(class, VFB_WIRE_TAKEN),
			 count_in_state(class, VFB_WIRE_RETURNING),
			 count_in_state(class, VFB_WIRE_QUARANTINE));
		*error = -EAGAIN;
		return NULL;
	}
	class->takes++;
	slot->pid = pid;
	slot->uid = uid;
	slot->restored = false;
	enter_state(pool, slot, VFB_WIRE_TAKEN, "%s", handing_out);
	return slot;
}

static bool is_arriving(const struct slot *slot)
{
	return slot->state == VFB_WIRE_TAKEN && !strcmp(slot->why, handing_out);
}

void pool_arrived(struct pool *pool, struct slot *slot)
{
	if (!is_arriving(slot))
		return;
	memset(slot->why, 0, sizeof(slot->why));
	pool->host->store(pool->host, slot);
}

void pool_lost(struct pool *pool, struct slot *slot)
{
	if (is_arriving(slot))
		pool_return(pool, slot);
}

bool pool_may_get_ready(const struct pool_class *class)
{
	for (unsigned int i = 0; i < class->target; i++)
		if (class->slots[i].state != VFB_WIRE_QUARANTINE)
			return true;
	return false;
}

void pool_tenant_ended(struct pool *pool, struct slot *slot)
{
	pid_t heir = pool->host->heir(pool->host, slot);

	if (heir) {
		snprintf(slot->why, sizeof(slot->why),
			 "process %d, which had taken it, has ended, but this one has its memory",
			 slot->pid);
		slot->pid = heir;
		pool->host->store(pool->host, slot);
		return;
	}
	pool_return(pool, slot);
}

void pool_return(struct pool *pool, struct slot *slot)
{
	slot->owner->returns++;
	begin_return(pool, slot, "its files are being closed");
}

void pool_released(struct pool *pool, struct slot *slot)
{
	(void)pool;
	slot->fd_count = 0;
	slot->released = true;
}

/* ---- What happens by itself ---- */

static bool is_wanted(const struct slot *slot)
{
	return slot->index < slot->owner->target;
}

/*
 * Whether the process must be seen to hold the slot. The one that has taken it may close its files,
 * as others may work for it, but for a heir, and if it may not have received them.
 */
static bool must_hold(struct pool *pool, const struct slot *slot)
{
	if (!slot->why[0])
		return false;
	return !is_arriving(slot) ||
	       (slot->restored && pool->host->now(pool->host) >= slot->since_ns + ARRIVES_IN);
}

static void check_tenant(struct pool *pool, struct slot *slot)
{
	if (!must_hold(pool, slot))
		return;
	if (pool->host->holds(pool->host, slot))
		pool_arrived(pool, slot);
	else
		pool_tenant_ended(pool, slot);
}

static void check_gone(struct pool *pool, struct slot *slot)
{
	char why[VFB_WIRE_TEXT] = "";

	if (!slot->released)
		return;
	if (pool->host->gone(pool->host, slot, why)) {
		if (!slot->failures)
			memcpy(slot->why, why, sizeof(why));
		return;
	}
	memcpy(why, slot->why, sizeof(why));
	slot->fd_count = 0;
	enter_state(pool, slot, VFB_WIRE_EMPTY, "%s", slot->failures ? why : "");
	memset(slot->name, 0, sizeof(slot->name));
}

static void step_slot(struct pool *pool, struct slot *slot, unsigned int *fillers)
{
	bool wanted = is_wanted(slot);

	switch (slot->state) {
	case VFB_WIRE_READY:
		if (!wanted)
			begin_return(pool, slot, "it is not needed any more");
		break;
	case VFB_WIRE_FILLING:
		if (wanted)
			break;
		pool->host->stop(pool->host, slot);
		slot->pid = 0;
		slot->released = true;
		enter_state(pool, slot, VFB_WIRE_RETURNING, "it is not needed any more");
		break;
	case VFB_WIRE_TAKEN:
		check_tenant(pool, slot);
		break;
	case VFB_WIRE_RETURNING:
		check_gone(pool, slot);
		break;
	default:
		break;
	}
	if (slot->state == VFB_WIRE_EMPTY && wanted && !pool->paused &&
	    *fillers < pool->max_fillers && pool->host->now(pool->host) >= slot->retry_ns) {
		start_fill(pool, slot);
		*fillers += slot->state == VFB_WIRE_FILLING;
	}
}

void pool_step(struct pool *pool)
{
	unsigned int fillers = 0;

	for (size_t i = 0; i < pool->class_count; i++)
		fillers += count_in_state(&pool->classes[i], VFB_WIRE_FILLING);
	for (size_t i = 0; i < pool->class_count; i++)
		for (unsigned int k = 0; k < slots_of(&pool->classes[i]); k++)
			step_slot(pool, &pool->classes[i].slots[k], &fillers);
}

bool pool_is_returning(const struct pool *pool)
{
	for (size_t i = 0; i < pool->class_count; i++)
		if (count_in_state(&pool->classes[i], VFB_WIRE_RETURNING))
			return true;
	return false;
}

/* ---- Size ---- */

int pool_resize(struct pool *pool, struct pool_class *class, int64_t by, char *why)
{
	const struct slot_class *config = &class->config;
	int64_t most = config->level == 2 ? config->device_count / config->devices_per_slot :
					    MAX_SLOTS;

	if (by < -(int64_t) class->target || by > most - (int64_t) class->target) {
		snprintf(why, VFB_WIRE_TEXT,
			 "class %s has %u slots and can have 0 to %" PRId64 ", not %" PRId64
			 " more",
			 config->name, class->target, most, by);
		return -EINVAL;
	}
	class->target += by;
	for (unsigned int i = 0; i < MAX_SLOTS; i++) {
		struct slot *slot = &class->slots[i];

		slot->retry_ns = 0;
		if (slot->state == VFB_WIRE_QUARANTINE)
			enter_state(pool, slot, VFB_WIRE_RETURNING, "it is tried again");
	}
	return 0;
}

void pool_drain(struct pool *pool, struct pool_class *class)
{
	(void)pool;
	class->target = 0;
}

static bool may_shrink(const struct pool_class *class, const struct pool_class *only)
{
	return only ? class == only : class->config.shrink;
}

static struct slot *oldest_ready(struct pool *pool, const struct pool_class *only)
{
	struct slot *best = NULL;

	for (size_t i = 0; i < pool->class_count; i++)
		for (unsigned int k = 0; k < slots_of(&pool->classes[i]); k++) {
			struct slot *slot = &pool->classes[i].slots[k];

			if (may_shrink(&pool->classes[i], only) && slot->state == VFB_WIRE_READY &&
			    (!best || slot->since_ns < best->since_ns))
				best = slot;
		}
	return best;
}

uint64_t pool_shrink(struct pool *pool, struct pool_class *class, uint64_t bytes)
{
	uint64_t released = 0;
	struct slot *slot;

	while (released < bytes && (slot = oldest_ready(pool, class))) {
		released += slot->owner->config.bytes;
		slot->retry_ns = pool->host->now(pool->host) + REFILL_AFTER;
		begin_return(pool, slot, "its memory was needed");
	}
	return released;
}

void pool_pause(struct pool *pool, bool pause)
{
	if (pool->paused == pause)
		return;
	pool->paused = pause;
	for (size_t i = 0; i < pool->class_count; i++)
		for (unsigned int k = 0; k < slots_of(&pool->classes[i]); k++)
			if (pool->classes[i].slots[k].state == VFB_WIRE_FILLING)
				pool->host->pause(pool->host, &pool->classes[i].slots[k], pause);
}
