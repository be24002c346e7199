/* SPDX-License-Identifier: MIT */
/* Subscribers that come and go while many threads report steps, on the running kernel. */
#include "context.h"
#include "host.h"

#include <sched.h>
#include <unistd.h>

#define THREADS 12
#define SPANS	2000
#define TOTAL	(THREADS * SPANS)

struct run {
	struct vfb_ctx *ctx;
	struct vfb_stats *stats;
	/* The ID of every span that was reported. */
	uint64_t ids[TOTAL];
	atomic_uint reported, working;
};

static void note_id(const struct vfb_event *event, void *data)
{
	struct run *run = data;

	assert_int_equal(event->thread, gettid());
	run->ids[atomic_fetch_add(&run->reported, 1)] = event->id;
}

static void *report_steps(void *arg)
{
	struct run *run = arg;

	for (int i = 0; i < SPANS; i++) {
		struct vfb_span *outer = vfb_span_begin(run->ctx, "outer");

		vfb_span_end(outer, i % 4 ? 0 : -EIO);
		if (!(i % 16))
			sched_yield();
	}
	atomic_fetch_sub(&run->working, 1);
	return NULL;
}

/* A subscriber's memory, which is poisoned once its subscription has ended. */
struct visitor {
	atomic_bool ended;
	atomic_uint calls;
};

static void visit(const struct vfb_event *event, void *data)
{
	struct visitor *visitor = data;

	(void)event;
	assert_false(atomic_load(&visitor->ended));
	atomic_fetch_add(&visitor->calls, 1);
	if (!(atomic_load(&visitor->calls) % 8))
		sched_yield();
	assert_false(atomic_load(&visitor->ended));
}

static void *come_and_go(void *arg)
{
	struct run *run = arg;

	do {
		struct visitor *visitor = calloc(1, sizeof(*visitor));
		struct vfb_subscription *subscription;

		assert_non_null(visitor);
		assert_ok(vfb_subscribe(run->ctx, NULL, visit, visitor, &subscription));
		sched_yield();
		vfb_unsubscribe(subscription);
		atomic_store(&visitor->ended, true);
		free(visitor);
	} while (atomic_load(&run->working));
	return NULL;
}

/* Every look at the counters finds whole steps, and no fewer than the look before. */
static void *read_sums(void *arg)
{
	struct vfb_stats_entry entry;
	struct run *run = arg;
	uint64_t before = 0;

	do {
		char *text;

		if (vfb_stats_read(run->stats, VFB_STATS_BY_OPERATION, &entry, 1) < 1)
			continue;
		assert_string_equal(entry.operation, "outer");
		assert_in_range(entry.count, before, TOTAL);
		assert_true(entry.total_ns >= entry.count * entry.min_ns);
		assert_true(entry.total_ns <= entry.count * entry.max_ns);
		before = entry.count;
		assert_ok(vfb_stats_openmetrics(run->stats, &text));
		free(text);
	} while (atomic_load(&run->working));
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void test_many_threads(void **state)
{
	static struct run run;
	struct vfb_subscription *subscription;
	pthread_t threads[THREADS + 3];
	struct vfb_stats_entry entry;

	(void)state;
	run.working = THREADS;
	assert_ok(vfb_ctx_create_with(&vfb_sys_linux, NULL, &run.ctx));
	assert_ok(vfb_stats_create(run.ctx, NULL, &run.stats));
	assert_ok(vfb_subscribe(run.ctx, NULL, note_id, &run, &subscription));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, report_steps, &run), 0);
	assert_int_equal(pthread_create(&threads[THREADS], NULL, come_and_go, &run), 0);
	assert_int_equal(pthread_create(&threads[THREADS + 1], NULL, come_and_go, &run), 0);
	assert_int_equal(pthread_create(&threads[THREADS + 2], NULL, read_sums, &run), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	vfb_unsubscribe(subscription);

	assert_int_equal(vfb_stats_read(run.stats, 0, &entry, 1), 1);
	assert_int_equal(entry.phase, VFB_PHASE_USER);
	assert_int_equal(entry.count, TOTAL);
	assert_int_equal(entry.errors, TOTAL / 4);
	assert_int_equal(run.reported, TOTAL);
	qsort(run.ids, TOTAL, sizeof(run.ids[0]), by_id);
	assert_true(run.ids[0] > 0);
	for (size_t i = 1; i < TOTAL; i++)
		assert_true(run.ids[i] > run.ids[i - 1]);

	vfb_stats_reset(run.stats);
	assert_int_equal(vfb_stats_read(run.stats, 0, &entry, 1), 0);
	vfb_stats_destroy(run.stats);
	assert_ok(vfb_ctx_destroy(run.ctx));
}

struct guest_list {
	struct vfb_ctx *ctx;
	struct vfb_subscription *added;
	unsigned int calls, added_calls;
};

static void count_added(const struct vfb_event *event, void *data)
{
	struct guest_list *list = data;

	(void)event;
	list->added_calls++;
}

static void add_another(const struct vfb_event *event, void *data)
{
	struct guest_list *list = data;

	(void)event;
	if (list->calls++)
		return;
	assert_ok(vfb_subscribe(list->ctx, NULL, count_added, list, &list->added));
}

/* Who subscribes in a callback gets the next event, not the one that is being reported. */
static void test_added_in_callback(void **state)
{
	struct vfb_subscription *subscription;
	struct guest_list list = {0};

	(void)state;
	assert_ok(vfb_ctx_create_with(&vfb_sys_linux, NULL, &list.ctx));
	assert_ok(vfb_subscribe(list.ctx, NULL, add_another, &list, &subscription));
	vfb_span_end(vfb_span_begin(list.ctx, "first"), 0);
	assert_int_equal(list.calls, 1);
	assert_int_equal(list.added_calls, 0);
	vfb_span_end(vfb_span_begin(list.ctx, "second"), 0);
	assert_int_equal(list.calls, 2);
	assert_int_equal(list.added_calls, 1);
	vfb_unsubscribe(list.added);
	vfb_unsubscribe(subscription);
	assert_ok(vfb_ctx_destroy(list.ctx));
}

static void end_self(const struct vfb_event *event, void *data)
{
	struct vfb_subscription **own = data;

	(void)event;
	assert_non_null(*own);
	vfb_unsubscribe(*own);
	*own = NULL;
}

/* Who ends its subscription in its callback is called once, and freed with the context at last. */
static void test_ended_in_callback(void **state)
{
	struct vfb_subscription *own[3];
	struct vfb_ctx *ctx;

	(void)state;
	assert_ok(vfb_ctx_create_with(&vfb_sys_linux, NULL, &ctx));
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		assert_ok(vfb_subscribe(ctx, NULL, end_self, &own[i], &own[i]));
	vfb_span_end(vfb_span_begin(ctx, "first"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		assert_null(own[i]);
	vfb_span_end(vfb_span_begin(ctx, "second"), 0);
	assert_ok(vfb_ctx_destroy(ctx));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_added_in_callback),
		cmocka_unit_test(test_ended_in_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
