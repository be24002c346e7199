/* SPDX-License-Identifier: MIT */
/*
 * The states of slots over a host that is made up: each of its calls fails in turn, and whatever
 * can happen happens in any order. What must hold is checked after each step: nothing that was
 * handed out is handed out again, every file is released exactly once, and a place is filled only
 * when its last slot is gone.
 */
#include "../../tools/daemon/pool.h"
#include "host.h"

#define FILES	 100000
#define SECOND	 UINT64_C(1000000000)
#define NO_ERROR "no error"

enum file_state {
	FILE_UNUSED,
	FILE_KEPT,
	FILE_HANDED_OUT,
	FILE_RELEASED,
};

struct model {
	struct pool_host ops;
	struct pool pool;
	uint64_t now;
	enum file_state files[FILES];
	int next_file;
	/* Fails the call with this number; 0: none. */
	unsigned int fail_call, calls;
	/* Of slots that are not gone. */
	unsigned int held;
	pid_t heir;
	/* Nobody holds a slot that was not taken by the process itself. */
	bool dropped;
	unsigned int fills, stops, pauses, stores;
};

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

static const struct slot_class two_classes[] = {
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

static void model_open(struct model *model)
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

static void make_grant(struct model *model, const struct slot *slot, struct vfb_wire_grant *grant,
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

static void fill_slot(struct model *model, struct slot *slot)
{
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];

	make_grant(model, slot, &grant, fds);
	assert_true(pool_filled(&model->pool, slot, &grant, fds, vfb_wire_fd_count(&grant)));
	assert_int_equal(slot->state, VFB_WIRE_READY);
}

static struct slot *take_slot(struct model *model, struct pool_class *class, uid_t uid, int *error)
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

static struct slot *find_state(struct model *model, enum vfb_wire_state state, unsigned int skip)
{
	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++) {
		struct slot *slot = &model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS];

		if (slot->state == state && !skip--)
			return slot;
	}
	return NULL;
}

/* Lets everything that is under way come to its end. */
static void settle(struct model *model)
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

static unsigned int count_state(struct model *model, enum vfb_wire_state state)
{
	unsigned int count = 0;

	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++)
		count += model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS].state == state;
	return count;
}

/* Drains all, ends all tenants: nothing may be left. */
static void model_close(struct model *model)
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

static void test_life(void **state)
{
	static struct model model;
	struct slot *slot;
	char name[VFB_WIRE_NAME];
	int error;

	(void)state;
	model_open(&model);
	pool_step(&model.pool);
	/* No more at a time than allowed. */
	assert_int_equal(count_state(&model, VFB_WIRE_FILLING), 3);
	settle(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 4);

	slot = take_slot(&model, &model.pool.classes[0], 5, &error);
	assert_non_null(slot);
	memcpy(name, slot->name, sizeof(name));
	settle(&model);
	/* It stays taken, and its place is not filled. */
	assert_int_equal(slot->state, VFB_WIRE_TAKEN);
	assert_string_equal(slot->name, name);

	model.held = 1;
	pool_tenant_ended(&model.pool, slot);
	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	settle(&model);
	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	assert_string_equal(slot->why, "process 7 still holds it");
	model.held = 0;
	settle(&model);
	assert_int_equal(slot->state, VFB_WIRE_READY);
	assert_string_not_equal(slot->name, name);
	model_close(&model);
}

static void test_none_left(void **state)
{
	static struct model model;
	struct pool_class *class;
	int error;

	(void)state;
	model_open(&model);
	class = &model.pool.classes[0];
	assert_null(take_slot(&model, class, 5, &error));
	assert_int_equal(error, -EAGAIN);
	assert_true(pool_may_get_ready(class));
	settle(&model);
	assert_non_null(take_slot(&model, class, 5, &error));
	assert_non_null(take_slot(&model, class, 5, &error));
	assert_null(take_slot(&model, class, 5, &error));
	assert_int_equal(error, -EAGAIN);
	class = &model.pool.classes[1];
	assert_non_null(take_slot(&model, class, 5, &error));
	/* One for each user. */
	assert_null(take_slot(&model, class, 5, &error));
	assert_int_equal(error, -EDQUOT);
	assert_non_null(take_slot(&model, class, 6, &error));
	pool_drain(&model.pool, class);
	assert_false(pool_may_get_ready(class));
	model_close(&model);
}

static void test_heir(void **state)
{
	static struct model model;
	struct slot *slot;
	int error;

	(void)state;
	model_open(&model);
	settle(&model);
	slot = take_slot(&model, &model.pool.classes[0], 5, &error);
	model.heir = 78;
	pool_tenant_ended(&model.pool, slot);
	assert_int_equal(slot->state, VFB_WIRE_TAKEN);
	assert_int_equal(slot->pid, 78);
	pool_tenant_ended(&model.pool, slot);
	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	model_close(&model);
}

/* It lives on, but without the slot: neither another daemon nor the first process changes that. */
static void test_heir_drops_it(void **state)
{
	static struct model model;
	struct vfb_wire_status status;
	struct vfb_wire_grant grant;
	struct slot *slot, *other;
	int error, fds[VFB_WIRE_FDS];
	size_t count;

	(void)state;
	model_open(&model);
	settle(&model);
	slot = take_slot(&model, &model.pool.classes[0], 5, &error);
	other = take_slot(&model, &model.pool.classes[0], 6, &error);
	model.heir = 78;
	pool_tenant_ended(&model.pool, slot);
	pool_step(&model.pool);
	assert_int_equal(slot->state, VFB_WIRE_TAKEN);
	pool_describe(&model.pool, slot, &status);
	assert_non_null(strstr(status.why, "has ended, but this one has its memory"));
	grant = slot->grant;
	count = slot->fd_count;
	memcpy(fds, slot->fds, sizeof(fds));
	memset(slot->why, 0, sizeof(slot->why));
	slot->state = VFB_WIRE_EMPTY;
	slot = pool_restore(&model.pool, &status, &grant, fds, count);
	assert_non_null(slot);
	model.dropped = true;
	model.heir = 79;
	pool_step(&model.pool);
	assert_int_equal(slot->pid, 79);
	pool_step(&model.pool);
	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	assert_int_equal(other->state, VFB_WIRE_TAKEN);
	model_close(&model);
}

static void test_fill_fails(void **state)
{
	static struct model model;
	struct slot *slot;
	unsigned int fills;
	int error;

	(void)state;
	model_open(&model);
	pool_step(&model.pool);
	slot = find_state(&model, VFB_WIRE_FILLING, 0);
	pool_fill_failed(&model.pool, slot, -ENOMEM, "too few huge pages");
	pool_step(&model.pool);
	/* It is tried again, later and later. */
	assert_int_equal(slot->state, VFB_WIRE_EMPTY);
	assert_string_equal(slot->why, "too few huge pages");
	settle(&model);
	slot = take_slot(&model, slot->owner, 5, &error);
	pool_return(&model.pool, slot);
	pool_released(&model.pool, slot);
	pool_step(&model.pool);
	assert_int_equal(slot->state, VFB_WIRE_FILLING);
	for (int i = 0; i < 10; i++) {
		pool_fill_failed(&model.pool, slot, -ENOMEM, "too few huge pages");
		pool_step(&model.pool);
		fills = model.fills;
		pool_step(&model.pool);
		assert_int_equal(model.fills, fills);
		model.now += 61 * SECOND;
		pool_step(&model.pool);
		assert_true(model.fills > fills);
		assert_int_equal(slot->state, VFB_WIRE_FILLING);
	}
	model_close(&model);
}

/* A device that cannot be reset is given to nobody. */
static void test_quarantine(void **state)
{
	static struct model model;
	char why[VFB_WIRE_TEXT];
	struct slot *slot;

	(void)state;
	model_open(&model);
	pool_step(&model.pool);
	slot = &model.pool.classes[1].slots[0];
	assert_int_equal(slot->state, VFB_WIRE_FILLING);
	pool_fill_failed(&model.pool, slot, -EUCLEAN, "device 0000:01:00.0 was not reset");
	settle(&model);
	assert_int_equal(slot->state, VFB_WIRE_QUARANTINE);
	assert_int_equal(pool_resize(&model.pool, slot->owner, 0, why), 0);
	settle(&model);
	assert_int_equal(slot->state, VFB_WIRE_READY);
	model_close(&model);
}

/* What the process sent is not what it was to fill. */
static void test_wrong_grant(void **state)
{
	static struct model model;
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];
	struct slot *slot;

	(void)state;
	model_open(&model);
	pool_step(&model.pool);
	slot = &model.pool.classes[1].slots[0];
	make_grant(&model, slot, &grant, fds);
	grant.bytes /= 2;
	assert_false(pool_filled(&model.pool, slot, &grant, fds, vfb_wire_fd_count(&grant)));
	assert_int_equal(slot->state, VFB_WIRE_RETURNING);
	model_close(&model);
}

static void test_resize(void **state)
{
	static struct model model;
	struct pool_class *class;
	char why[VFB_WIRE_TEXT];

	(void)state;
	model_open(&model);
	settle(&model);
	class = &model.pool.classes[1];
	assert_int_equal(pool_resize(&model.pool, class, 1, why), 0);
	/* There are three devices. */
	assert_int_equal(pool_resize(&model.pool, class, 1, why), -EINVAL);
	assert_int_equal(pool_resize(&model.pool, class, INT64_MAX, why), -EINVAL);
	assert_int_equal(pool_resize(&model.pool, class, -4, why), -EINVAL);
	assert_int_equal(pool_resize(&model.pool, class, INT64_MIN, why), -EINVAL);
	settle(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 5);
	assert_int_equal(pool_resize(&model.pool, class, -2, why), 0);
	settle(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 3);
	model_close(&model);
}

static void test_shrink(void **state)
{
	static struct model model;

	(void)state;
	model_open(&model);
	settle(&model);
	/* The other class does not allow it. */
	assert_int_equal(pool_shrink(&model.pool, NULL, UINT64_MAX), 2 << 21);
	pool_step(&model.pool);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 2);
	assert_int_equal(pool_shrink(&model.pool, &model.pool.classes[1], 1), 1 << 21);
	/* They come back. */
	settle(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 4);
	model_close(&model);
}

static void test_pause(void **state)
{
	static struct model model;

	(void)state;
	model_open(&model);
	pool_step(&model.pool);
	pool_pause(&model.pool, true);
	assert_int_equal(model.pauses, 3);
	pool_pause(&model.pool, true);
	assert_int_equal(model.pauses, 3);
	while (find_state(&model, VFB_WIRE_FILLING, 0))
		fill_slot(&model, find_state(&model, VFB_WIRE_FILLING, 0));
	pool_step(&model.pool);
	assert_int_equal(count_state(&model, VFB_WIRE_FILLING), 0);
	pool_pause(&model.pool, false);
	pool_step(&model.pool);
	assert_int_equal(count_state(&model, VFB_WIRE_FILLING), 1);
	model_close(&model);
}

/* The daemon is killed: a new one gets what the service manager has kept. */
static void crash(struct model *model)
{
	struct vfb_wire_status status;
	struct pool before = model->pool;

	assert_true(pool_init(&model->pool, &model->ops, two_classes, 2));
	model->pool.max_fillers = 3;
	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++) {
		struct slot *slot = &before.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS], *now;

		if (slot->state == VFB_WIRE_RETURNING && !slot->released) {
			/* It was being released; the kernel has closed its files. */
			slot->fd_count = 0;
			slot->released = true;
		}
		if (slot->state == VFB_WIRE_EMPTY || slot->state == VFB_WIRE_QUARANTINE)
			continue;
		/* The processes that fill end with the daemon. */
		if (slot->state == VFB_WIRE_FILLING)
			slot->state = VFB_WIRE_RETURNING;
		pool_describe(&before, slot, &status);
		now = pool_restore(&model->pool, &status, &slot->grant, slot->fds,
				   slot->state == VFB_WIRE_RETURNING ? 0 : slot->fd_count);
		assert_non_null(now);
		assert_string_equal(now->name, slot->name);
		assert_int_equal(now->pid, slot->state == VFB_WIRE_TAKEN ? slot->pid : 0);
	}
	pool_free(&before);
}

static void test_crash(void **state)
{
	static struct model model;
	struct slot *slot;
	int error;

	(void)state;
	model_open(&model);
	settle(&model);
	slot = take_slot(&model, &model.pool.classes[1], 5, &error);
	assert_non_null(slot);
	crash(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 3);
	assert_int_equal(count_state(&model, VFB_WIRE_TAKEN), 1);
	settle(&model);
	assert_int_equal(count_state(&model, VFB_WIRE_READY), 3);
	assert_int_equal(count_state(&model, VFB_WIRE_TAKEN), 1);
	model_close(&model);
}

/* The daemon is started with other classes: nobody gets what they no longer describe. */
static void test_class_changed(void **state)
{
	struct slot_class larger = two_classes[0], other_level = two_classes[0],
			  other_pages = two_classes[0];
	const struct slot_class *classes[] = {&two_classes[0], &larger, &other_level, &other_pages};
	static struct model model;
	struct vfb_wire_status status;
	struct slot slot;
	struct pool pool;

	(void)state;
	larger.bytes *= 2;
	other_level.level = 1;
	other_level.device_count = 1;
	other_pages.page_size = VFB_PAGE_2M;
	model_open(&model);
	settle(&model);
	slot = model.pool.classes[0].slots[0];
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		bool is_same = classes[i] == &two_classes[0];

		assert_true(pool_init(&pool, &model.ops, classes[i], 1));
		slot.state = VFB_WIRE_READY;
		pool_describe(&model.pool, &slot, &status);
		assert_int_equal(!pool_restore(&pool, &status, &slot.grant, slot.fds,
					       slot.fd_count),
				 !is_same);
		/* The one who has it keeps it. */
		slot.state = VFB_WIRE_TAKEN;
		pool_describe(&model.pool, &slot, &status);
		assert_non_null(pool_restore(&pool, &status, &slot.grant, slot.fds, slot.fd_count));
		pool_free(&pool);
	}
	model_close(&model);
}

/* Each call of the host fails in turn: in the end all slots are there. */
static void test_each_call_fails(void **state)
{
	static struct model model;
	int error;

	(void)state;
	for (unsigned int fail = 1; fail < 30; fail++) {
		model_open(&model);
		model.fail_call = fail;
		settle(&model);
		assert_int_equal(count_state(&model, VFB_WIRE_READY), 4);
		for (int i = 0; i < 3; i++) {
			struct slot *slot = take_slot(&model, &model.pool.classes[i % 2], i,
						      &error);

			assert_non_null(slot);
			pool_tenant_ended(&model.pool, slot);
			settle(&model);
		}
		assert_int_equal(count_state(&model, VFB_WIRE_READY), 4);
		model_close(&model);
	}
}

static void happen(struct model *model, unsigned int what, unsigned int who)
{
	struct pool_class *class = &model->pool.classes[who % 2];
	char why[VFB_WIRE_TEXT];
	struct slot *slot;
	int error;

	switch (what) {
	case 0:
		slot = find_state(model, VFB_WIRE_FILLING, who % 3);
		if (slot)
			fill_slot(model, slot);
		break;
	case 1:
		slot = find_state(model, VFB_WIRE_FILLING, who % 3);
		if (slot)
			pool_fill_failed(&model->pool, slot, who % 4 ? -ENOMEM : -EUCLEAN, "no");
		break;
	case 2:
		take_slot(model, class, who % 5, &error);
		break;
	case 3:
	case 4:
		slot = find_state(model, VFB_WIRE_TAKEN, who % 3);
		if (slot && what == 3)
			pool_tenant_ended(&model->pool, slot);
		else if (slot)
			pool_return(&model->pool, slot);
		break;
	case 5:
		slot = find_state(model, VFB_WIRE_RETURNING, who % 3);
		if (slot && !slot->released)
			pool_released(&model->pool, slot);
		break;
	case 6:
		pool_resize(&model->pool, class, (int64_t)(who % 4) - 1, why);
		break;
	case 7:
		pool_shrink(&model->pool, who % 3 ? class : NULL, 1);
		break;
	case 8:
		pool_pause(&model->pool, who % 2);
		break;
	case 9:
		model->held = who % 2;
		break;
	case 10:
		model->heir = who % 8 ? 0 : 99;
		break;
	case 11:
		if (!(who % 16))
			pool_drain(&model->pool, class);
		break;
	default:
		model->now += SECOND;
	}
	pool_step(&model->pool);
}

/* What crashes lose are files: the kernel closes them. */
static void forget_files(struct model *model)
{
	bool kept[FILES] = {false};

	for (unsigned int k = 0; k < 2 * MAX_SLOTS; k++) {
		struct slot *slot = &model->pool.classes[k / MAX_SLOTS].slots[k % MAX_SLOTS];

		for (size_t i = 0; i < slot->fd_count; i++)
			kept[slot->fds[i]] = true;
	}
	for (int i = 1; i < model->next_file; i++)
		if (!kept[i])
			model->files[i] = FILE_RELEASED;
}

static void test_anything(void **state)
{
	static struct model model;
	uint32_t random = 1;

	(void)state;
	model_open(&model);
	for (int i = 0; i < 20000; i++) {
		random = random * 1664525 + 1013904223;
		if (random >> 8 == 0 || i % 500 == 499) {
			crash(&model);
			forget_files(&model);
		}
		happen(&model, (random >> 16) % 14, random >> 20);
	}
	assert_true(model.fills > 500);
	model_close(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),	    cmocka_unit_test(test_none_left),
		cmocka_unit_test(test_heir),	    cmocka_unit_test(test_heir_drops_it),
		cmocka_unit_test(test_fill_fails),  cmocka_unit_test(test_quarantine),
		cmocka_unit_test(test_wrong_grant), cmocka_unit_test(test_resize),
		cmocka_unit_test(test_shrink),	    cmocka_unit_test(test_pause),
		cmocka_unit_test(test_crash),	    cmocka_unit_test(test_class_changed),
		cmocka_unit_test(test_anything),    cmocka_unit_test(test_each_call_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
