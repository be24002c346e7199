/* SPDX-License-Identifier: MIT */
#include "slot_model.h"

#define NO_ERROR "no error"

static struct model *model_of(struct pool_host *host)
{
	return (struct model *)host;
}

static uint64_t model_now(struct pool_host *host)
{
	return model_of(host)->now;
}

static int model_fill(struct pool_host *host, struct slot *slot, char *why)
{
	struct model *model = model_of(host);

	/* Its place is free: the last one is gone. */
	assert_int_equal(slot->state, VFB_WIRE_EMPTY);
	assert_int_equal(slot->fd_count, 0);
	model->fills++;
	if (++model->calls == model->fail_call) {
		strcpy(why, "it failed");
		return -ENOMEM;
	}
	slot->pid = 1000 + slot->number;
	return 0;
}

static void model_stop(struct pool_host *host, struct slot *slot)
{
	assert_int_equal(slot->state, VFB_WIRE_FILLING);
	model_of(host)->stops++;
}

static void model_pause(struct pool_host *host, struct slot *slot, bool pause)
{
	(void)pause;
	assert_int_equal(slot->state, VFB_WIRE_FILLING);
	model_of(host)->pauses++;
}

static void model_store(struct pool_host *host, struct slot *slot)
{
	(void)slot;
	model_of(host)->stores++;
}

static pid_t model_heir(struct pool_host *host, struct slot *slot)
{
	pid_t heir = model_of(host)->heir;

	(void)slot;
	model_of(host)->heir = 0;
	return heir;
}

static bool model_holds(struct pool_host *host, struct slot *slot)
{
	assert_int_equal(slot->state, VFB_WIRE_TAKEN);
	return !model_of(host)->dropped;
}

static void model_release(struct pool_host *host, struct slot *slot)
{
	struct model *model = model_of(host);

	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	for (size_t i = 0; i < slot->fd_count; i++) {
		assert_true(model->files[slot->fds[i]] == FILE_KEPT ||
			    model->files[slot->fds[i]] == FILE_HANDED_OUT);
		model->files[slot->fds[i]] = FILE_RELEASED;
	}
}

static int model_gone(struct pool_host *host, struct slot *slot, char *why)
{
	struct model *model = model_of(host);

	(void)slot;
	if (++model->calls != model->fail_call && !model->held)
		return 0;
	strcpy(why, "process 7 still holds it");
	return -EBUSY;
}

const struct slot_class two_classes[2] = {
	{.name = "plain",
	 .count = 2,
	 .bytes = 1 << 21,
	 .page_size = VFB_PAGE_4K,
	 .devices_per_slot = 1,
	 .shrink = true},
	{.name = "device",
	 .count = 2,
	 .bytes = 1 << 21,
	 .page_size = VFB_PAGE_4K,
	 .devices = {"0000:01:00.0", "0000:02:00.0", "0000:03:00.0"},
	 .device_count = 3,
	 .level = 2,
	 .devices_per_slot = 1,
	 .max_per_user = 1},
};

void model_open(struct model *model)
{
	memset(model, 0, sizeof(*model));
	model->now = 1000 * SECOND;
	model->next_file = 1;
	model->ops = (struct pool_host){
		.now = model_now,
		.fill = model_fill,
		.stop = model_stop,
		.pause = model_pause,
		.store = model_store,
		.heir = model_heir,
		.holds = model_holds,
		.release = model_release,
		.gone = model_gone,
	};
	assert_true(pool_init(&model->pool, &model->ops, two_classes, 2));
	model->pool.max_fillers = 3;
}

void make_grant(struct model *model, const struct slot *slot, struct vfb_wire_grant *grant,
		int *fds)
{
	const struct slot_class *config = &slot->owner->config;

	*grant = (struct vfb_wire_grant){.bytes = config->bytes, .page_size = VFB_PAGE_4K};
	if (config->device_count) {
		grant->level = 2;
		grant->device_count = 1;
		memcpy(grant->devices[0], config->devices[slot->index], VFB_WIRE_ADDRESS);
	}
	for (size_t i = 0; i < vfb_wire_fd_count(grant); i++) {
		fds[i] = model->next_file++;
		assert_true(model->next_file < FILES);
		model->files[fds[i]] = FILE_KEPT;
	}
}

void fill_slot(struct model *model, struct slot *slot)
{
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];

	make_grant(model, slot, &grant, fds);
	assert_true(pool_filled(&model->pool, slot, &grant, fds, vfb_wire_fd_count(&grant)));
	assert_int_equal(slot->state, VFB_WIRE_READY);
}

struct slot *take_slot(struct model *model, struct pool_class *class, uid_t uid, int *error)
{
	char why[VFB_WIRE_TEXT] = NO_ERROR;
	struct slot *slot = pool_take(&model->pool, class, 77, uid, error, why);

	for (size_t i = 0; slot && i < slot->fd_count; i++) {
		assert_int_equal(model->files[slot->fds[i]], FILE_KEPT);
		model->files[slot->fds[i]] = FILE_HANDED_OUT;
	}
	if (!slot)
		assert_string_not_equal(why, NO_ERROR);
	return slot;
}

struct slot *find_state(struct model *model, enum vfb_wire_state state, unsigned int skip)
{
	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++) {
		struct slot *slot = &model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS];

		if (slot->state == state && !skip--)
			return slot;
	}
	return NULL;
}

void settle(struct model *model)
{
	struct slot *slot;

	for (int i = 0; i < 400; i++) {
		pool_step(&model->pool);
		while ((slot = find_state(model, VFB_WIRE_FILLING, 0)))
			fill_slot(model, slot);
		for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++) {
			slot = &model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS];
			if (slot->state == VFB_WIRE_RETURNING && !slot->released)
				pool_released(&model->pool, slot);
		}
		model->now += SECOND;
	}
}

unsigned int count_state(struct model *model, enum vfb_wire_state state)
{
	unsigned int count = 0;

	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++)
		count += model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS].state == state;
	return count;
}

void model_close(struct model *model)
{
	struct slot *slot;

	model->held = 0;
	model->fail_call = 0;
	for (size_t i = 0; i < 2; i++)
		pool_drain(&model->pool, &model->pool.classes[i]);
	while ((slot = find_state(model, VFB_WIRE_TAKEN, 0)))
		pool_tenant_ended(&model->pool, slot);
	settle(model);
	assert_int_equal(count_state(model, VFB_WIRE_EMPTY) +
				 count_state(model, VFB_WIRE_QUARANTINE),
			 2 * MAX_SLOTS);
	for (int i = 1; i < model->next_file; i++)
		assert_int_equal(model->files[i], FILE_RELEASED);
	pool_free(&model->pool);
}
