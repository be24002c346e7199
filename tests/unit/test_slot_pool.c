/* SPDX-License-Identifier: MIT */
/* The states of slots, and each call of their host that fails. */
#include "slot_model.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_none_left),
		cmocka_unit_test(test_heir),
		cmocka_unit_test(test_heir_drops_it),
		cmocka_unit_test(test_fill_fails),
		cmocka_unit_test(test_quarantine),
		cmocka_unit_test(test_wrong_grant),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_shrink),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_each_call_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
