/* SPDX-License-Identifier: MIT */
/* Spans: how they nest, who receives them, and what a callback may do. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "context.h"
#include "host.h"

#define SEC (1000 * MS)
#define MAX 256

/* Events in the order of arrival. One thread at a time, except where a test says otherwise. */
struct log {
	struct vfb_event events[MAX];
	unsigned int count;
};

static void note(const struct vfb_event *event, void *data)
{
	struct log *log = data;

	assert_int_equal(fake_locks_held(), 0);
	if (log->count < MAX)
		log->events[log->count++] = *event;
}

static const struct vfb_event *find(const struct log *log, enum vfb_phase phase)
{
	for (unsigned int i = 0; i < log->count; i++)
		if (log->events[i].phase == phase)
			return &log->events[i];
	fail_msg("no event of phase %s", vfb_phase_name(phase));
	return NULL;
}

static uint64_t end_of(const struct vfb_event *event)
{
	return event->start_ns + event->duration_ns + event->callback_ns;
}

static struct vfb_subscription *subscribe(struct host *host, uint64_t phases, vfb_event_fn fn,
					  void *data)
{
	struct vfb_filter filter = {sizeof(filter), phases, 0, 0};
	struct vfb_subscription *subscription;

	assert_ok(vfb_subscribe(host->ctx, &filter, fn, data, &subscription));
	return subscription;
}

/* A user's span, the job begun in it, and the step that is a part of that. */
static void test_nesting(void **state)
{
	const struct vfb_event *user, *job, *step, *wait;
	struct vfb_subscription *subscription;
	struct log log = {.count = 0};
	struct vfb_memory *memory;
	struct vfb_span *span;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	subscription = subscribe(&host, 0, note, &log);
	span = vfb_span_begin(host.ctx, "boot");
	assert_non_null(span);
	assert_ok(vfb_memory_populate(memory));
	vfb_span_end(span, -EIO);
	vfb_unsubscribe(subscription);

	user = find(&log, VFB_PHASE_USER);
	job = find(&log, VFB_PHASE_JOB);
	step = find(&log, VFB_PHASE_POPULATE);
	wait = find(&log, VFB_PHASE_WAIT);
	assert_int_equal(log.count, 4);
	assert_int_equal(user->parent, 0);
	assert_int_equal(job->parent, user->id);
	assert_int_equal(wait->parent, user->id);
	assert_int_equal(step->parent, job->id);
	assert_string_equal(user->operation, "boot");
	assert_int_equal(user->result, -EIO);
	assert_int_equal(user->node, -1);
	assert_string_equal(job->operation, "populate");
	assert_int_equal(job->bytes, 2 * MIB);
	assert_true(user->start_ns <= job->start_ns && job->start_ns <= step->start_ns);
	assert_true(end_of(step) <= end_of(job) && end_of(job) <= end_of(user));
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* Spans of one thread that end in the wrong order, or that nobody wants. */
static void test_user_spans(void **state)
{
	struct vfb_span *outer, *inner, *other;
	struct vfb_subscription *subscription;
	struct log log = {.count = 0};
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_null(vfb_span_begin(host.ctx, "unheard"));
	vfb_span_end(NULL, 0);
	subscription = subscribe(&host, VFB_PHASE_BIT(VFB_PHASE_MAP), note, &log);
	assert_null(vfb_span_begin(host.ctx, "unwanted"));
	vfb_unsubscribe(subscription);
	subscription = subscribe(&host, VFB_PHASE_BIT(VFB_PHASE_USER), note, &log);
	outer = vfb_span_begin(host.ctx, "outer");
	inner = vfb_span_begin(host.ctx, "inner");
	vfb_span_end(outer, 0);
	other = vfb_span_begin(host.ctx, "other");
	vfb_span_end(other, 0);
	vfb_span_end(inner, 0);
	vfb_unsubscribe(subscription);
	assert_int_equal(log.count, 3);
	assert_int_equal(log.events[2].parent, log.events[0].id);
	assert_int_equal(log.events[1].parent, log.events[2].id);
	host_close(&host);
}

static void test_filters(void **state)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscriptions[3];
	static struct log logs[3];
	struct vfb_memory *small, *large;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	small = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	large = make_memory(&host, 16 * MIB, VFB_PAGE_4K);
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_POPULATE);
	assert_ok(vfb_subscribe(host.ctx, &filter, note, &logs[0], &subscriptions[0]));
	filter.min_bytes = 4 * MIB;
	assert_ok(vfb_subscribe(host.ctx, &filter, note, &logs[1], &subscriptions[1]));
	filter.min_bytes = 0;
	filter.min_duration_ns = 1000 * SEC;
	assert_ok(vfb_subscribe(host.ctx, &filter, note, &logs[2], &subscriptions[2]));
	assert_ok(vfb_memory_populate(small));
	assert_ok(vfb_memory_populate(large));
	for (size_t i = 0; i < 3; i++)
		vfb_unsubscribe(subscriptions[i]);
	assert_int_equal(logs[0].count, 2);
	assert_int_equal(logs[1].count, 1);
	assert_int_equal(logs[1].events[0].bytes, 16 * MIB);
	assert_int_equal(logs[2].count, 0);

	filter = (struct vfb_filter)VFB_FILTER_INIT;
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_COUNT);
	assert_fails(vfb_subscribe(host.ctx, &filter, note, &logs[0], &subscriptions[0]), -EINVAL,
		     "0x800000", "phases");
	filter.size = 0;
	assert_fails(vfb_subscribe(host.ctx, &filter, note, &logs[0], &subscriptions[0]), -EINVAL,
		     "size");
	assert_ok(vfb_memory_destroy(small));
	assert_ok(vfb_memory_destroy(large));
	host_close(&host);
}

struct caller {
	struct host *host;
	struct vfb_subscription *subscription;
	struct vfb_memory *memory;
	struct vfb_job *job;
	unsigned int calls;
};

/* Calls that could wait are refused, others are made, and none of them is reported. */
static void call_back(const struct vfb_event *event, void *data)
{
	struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
	struct caller *caller = data;
	struct vfb_device *device;
	struct vfb_ctx *ctx = caller->host->ctx;

	assert_int_equal(event->phase, VFB_PHASE_POPULATE);
	caller->calls++;
	assert_null(vfb_span_begin(ctx, "from a callback"));
	range.memory = make_memory(caller->host, 2 * MIB, VFB_PAGE_4K);
	assert_fails(vfb_memory_populate(range.memory), -EDEADLK, "callback");
	assert_fails(vfb_space_map(caller->host->space, &range, 1, NULL), -EDEADLK, "callback");
	assert_fails(vfb_space_unmap(caller->host->space, &range, 1, NULL), -EDEADLK, "callback");
	assert_fails(vfb_device_open(caller->host->space, addresses[0], &device), -EDEADLK,
		     "callback");
	assert_null(device);
	assert_fails(vfb_ctx_destroy(ctx), -EBUSY, "still has");
	assert_ok(vfb_memory_populate_start(&range.memory, 1, &caller->job));
	/* The only worker is here. */
	assert_int_equal(vfb_job_wait(caller->job, 0), -ETIMEDOUT);
	assert_fails(vfb_job_wait(caller->job, SEC), -EDEADLK, "callback");
	/* It would wait: the job stays. */
	vfb_job_destroy(caller->job);
	caller->memory = range.memory;
	vfb_unsubscribe(caller->subscription);
	caller->subscription = subscribe(caller->host, VFB_PHASE_BIT(VFB_PHASE_MAP), call_back,
					 caller);
}

static void test_call_back(void **state)
{
	struct caller caller = {.calls = 0};
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.cpus_per_node = 1});
	host_space(&host, VFB_BACKEND_TYPE1);
	caller.host = &host;
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	caller.subscription =
		subscribe(&host, VFB_PHASE_BIT(VFB_PHASE_POPULATE) | VFB_PHASE_BIT(VFB_PHASE_USER),
			  call_back, &caller);
	assert_ok(vfb_memory_populate(memory));
	assert_ok(vfb_job_wait(caller.job, UINT64_MAX));
	vfb_job_destroy(caller.job);
	vfb_unsubscribe(caller.subscription);
	assert_int_equal(caller.calls, 1);
	assert_ok(vfb_memory_destroy(caller.memory));
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void take_time(const struct vfb_event *event, void *data)
{
	struct host *host = data;

	/* On the virtual clock. */
	if (event->phase == VFB_PHASE_CREATE)
		host->sys->sleep(host->sys, 10 * SEC);
}

/* What a subscriber takes is not charged to the span that it holds up. */
static void test_slow(void **state)
{
	struct vfb_subscription *slow, *subscription;
	struct log log = {.count = 0};
	struct vfb_memory *memory;
	struct vfb_span *outer, *inner;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	slow = subscribe(&host, 0, take_time, &host);
	subscription = subscribe(&host, VFB_PHASE_BIT(VFB_PHASE_USER), note, &log);
	outer = vfb_span_begin(host.ctx, "outer");
	inner = vfb_span_begin(host.ctx, "inner");
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	host.sys->sleep(host.sys, SEC);
	vfb_span_end(inner, 0);
	vfb_span_end(outer, 0);
	vfb_unsubscribe(subscription);
	vfb_unsubscribe(slow);
	assert_int_equal(log.count, 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_in_range(log.events[i].duration_ns, SEC, 2 * SEC);
		assert_in_range(log.events[i].callback_ns, 10 * SEC, 11 * SEC);
	}
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

/* How often each system call was reported, and whether its parent was the step that made it. */
struct calls {
	pthread_mutex_t lock;
	unsigned int maps, madvises, opens;
	uint64_t map_parents, map_ids, populated;
};

static void note_call(const struct vfb_event *event, void *data)
{
	struct calls *calls = data;

	pthread_mutex_lock(&calls->lock);
	if (event->phase == VFB_PHASE_MAP)
		calls->map_ids += event->id;
	else if (!strcmp(event->operation, "VFIO_IOMMU_MAP_DMA")) {
		calls->maps++;
		calls->map_parents += event->parent;
	} else if (!strcmp(event->operation, "madvise")) {
		calls->madvises++;
		calls->populated += event->bytes;
	} else if (!strcmp(event->operation, "openat")) {
		calls->opens++;
	}
	pthread_mutex_unlock(&calls->lock);
}

static void test_syscalls(void **state)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .flags = VFB_CTX_SYSCALLS};
	struct calls calls = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
	struct host host = {.fake = fake_create(NULL)};
	struct vfb_subscription *subscription;
	struct vfb_device *device;

	(void)state;
	host.sys = fake_sys(host.fake);
	add_devices(host.fake, 1);
	opts.flags = 1u << 31;
	assert_fails(vfb_ctx_create_with(host.sys, &opts, &host.ctx), -EINVAL, "0x80000000");
	opts.flags = VFB_CTX_SYSCALLS;
	assert_ok(vfb_ctx_create_with(host.sys, &opts, &host.ctx));
	subscription = subscribe(&host,
				 VFB_PHASE_BIT(VFB_PHASE_SYSCALL) | VFB_PHASE_BIT(VFB_PHASE_MAP),
				 note_call, &calls);
	host_space(&host, VFB_BACKEND_TYPE1);
	range.memory = make_memory(&host, 64 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_device_open(host.space, addresses[0], &device));
	assert_ok(vfb_space_map(host.space, &range, 1, NULL));
	assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
	vfb_device_close(device);
	vfb_unsubscribe(subscription);
	assert_int_equal(calls.maps, stats_of(&host).map_calls);
	assert_int_equal(calls.map_parents, calls.map_ids);
	assert_true(calls.madvises > 0 && calls.opens > 0);
	assert_true(calls.populated >= 64 * MIB);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

struct emitters {
	struct host *host;
	atomic_bool stop;
	atomic_uint reported;
};

static void *emit(void *data)
{
	struct emitters *emitters = data;

	while (!atomic_load(&emitters->stop))
		vfb_span_end(vfb_span_begin(emitters->host->ctx, "emitted"), 0);
	return NULL;
}

static void count(const struct vfb_event *event, void *data)
{
	(void)event;
	atomic_fetch_add((atomic_uint *)data, 1);
}

static void *come_and_go(void *data)
{
	struct emitters *emitters = data;
	struct vfb_subscription *subscription;

	for (int round = 0; round < 200; round++) {
		atomic_uint *own = malloc(sizeof(*own));

		atomic_init(own, 0);
		subscription = subscribe(emitters->host, 0, count, own);
		while (!atomic_load(own) && !atomic_load(&emitters->stop))
			sched_yield();
		vfb_unsubscribe(subscription);
		atomic_fetch_add(&emitters->reported, *own);
		/* A callback that still ran would write here. */
		free(own);
	}
	return NULL;
}

/* Two threads subscribe and unsubscribe while two others emit. */
static void test_threads(void **state)
{
	struct emitters emitters = {.reported = 0};
	pthread_t threads[4];
	struct host host;

	(void)state;
	host_open(&host, NULL);
	emitters.host = &host;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? emit : come_and_go,
						&emitters),
				 0);
	for (int i = 2; i < 4; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&emitters.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&emitters.reported) >= 400);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nesting),	 cmocka_unit_test(test_user_spans),
		cmocka_unit_test(test_filters),	 cmocka_unit_test(test_call_back),
		cmocka_unit_test(test_slow),	 cmocka_unit_test(test_threads),
		cmocka_unit_test(test_syscalls),
	};

	return cmocka_run_group_tests_name("span", tests, NULL, NULL);
}
