/* SPDX-License-Identifier: MIT */
/* Slots after a crash of the daemon, which may happen between any two events. */
#include "slot_model.h"

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

/* The answer that was sent has arrived, or it is known to be lost. */
static void test_arrival(void **state)
{
	static struct model model;
	struct slot *arrived, *lost;
	int error;

	(void)state;
	model_open(&model);
	settle(&model);
	arrived = take_slot(&model, &model.pool.classes[0], 5, &error);
	lost = take_slot(&model, &model.pool.classes[0], 5, &error);
	pool_arrived(&model.pool, arrived);
	pool_lost(&model.pool, arrived);
	assert_int_equal(arrived->state, VFB_WIRE_TAKEN);
	pool_lost(&model.pool, lost);
	assert_int_equal(lost->state, VFB_WIRE_RETURNING);
	model_close(&model);
}

/* The daemon is killed while it hands a slot out, and its process asks the next one again. */
static void test_lost_by_a_crash(void **state)
{
	static struct model model;
	struct slot *arrived, *lost;
	int error;

	(void)state;
	model_open(&model);
	settle(&model);
	arrived = take_slot(&model, &model.pool.classes[0], 5, &error);
	pool_arrived(&model.pool, arrived);
	lost = take_slot(&model, &model.pool.classes[0], 5, &error);
	crash(&model);
	arrived = find_state(&model, VFB_WIRE_TAKEN, 0);
	lost = find_state(&model, VFB_WIRE_TAKEN, 1);
	model.dropped = true;
	/* It may still be on its way, and nobody else gets it. */
	pool_step(&model.pool);
	assert_int_equal(lost->state, VFB_WIRE_TAKEN);
	model.now += 10 * SECOND;
	pool_step(&model.pool);
	assert_int_equal(lost->state, VFB_WIRE_RETURNING);
	/* Its process may have passed this one on. */
	assert_int_equal(arrived->state, VFB_WIRE_TAKEN);
	model_close(&model);
}

/* The same, but it had arrived. */
static void test_arrived_before_a_crash(void **state)
{
	static struct model model;
	struct slot *slot;
	int error;

	(void)state;
	model_open(&model);
	settle(&model);
	take_slot(&model, &model.pool.classes[0], 5, &error);
	crash(&model);
	slot = find_state(&model, VFB_WIRE_TAKEN, 0);
	model.now += 10 * SECOND;
	pool_step(&model.pool);
	model.dropped = true;
	pool_step(&model.pool);
	assert_int_equal(slot->state, VFB_WIRE_TAKEN);
	model_close(&model);
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
		slot = take_slot(model, class, who % 5, &error);
		if (slot && who % 8 < 4)
			pool_arrived(&model->pool, slot);
		else if (slot && who % 8 < 6)
			pool_lost(&model->pool, slot);
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
		model->dropped = who % 8 == 2;
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
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_class_changed),
		cmocka_unit_test(test_arrival),
		cmocka_unit_test(test_lost_by_a_crash),
		cmocka_unit_test(test_arrived_before_a_crash),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
