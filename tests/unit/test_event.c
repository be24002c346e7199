/* SPDX-License-Identifier: MIT */
/* Events: each step is reported with its times to all subscribers; without any it costs nothing. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "context.h"
#include "counted.h"
#include "host.h"

#define RESET  (100 * MS)
#define PHASES VFB_PHASE_COUNT
#define MAX    256

/* Events in the order of arrival. */
struct log {
	pthread_mutex_t lock;
	struct vfb_event events[MAX];
	char devices[MAX][16];
	unsigned int count, of[PHASES];
	uint64_t bytes[PHASES];
};

#define LOG_INIT                                  \
	{                                         \
		.lock = PTHREAD_MUTEX_INITIALIZER \
	}

static void note(const struct vfb_event *event, void *data)
{
	struct log *log = data;

	assert_int_equal(fake_locks_held(), 0);
	pthread_mutex_lock(&log->lock);
	if (log->count < MAX && event->phase < PHASES) {
		log->events[log->count] = *event;
		snprintf(log->devices[log->count], sizeof(log->devices[0]), "%s",
			 event->device ? event->device : "");
		log->count++;
		log->of[event->phase]++;
		log->bytes[event->phase] += event->bytes;
	}
	pthread_mutex_unlock(&log->lock);
}

static const struct vfb_event *first(const struct log *log, enum vfb_phase phase)
{
	for (unsigned int i = 0; i < log->count; i++)
		if (log->events[i].phase == phase)
			return &log->events[i];
	fail_msg("no event of phase %s", vfb_phase_name(phase));
	return NULL;
}

/* The phases that are about one device. */
static const uint64_t of_devices = VFB_PHASE_BIT(VFB_PHASE_DISCOVER) |
				   VFB_PHASE_BIT(VFB_PHASE_ATTACH) | VFB_PHASE_BIT(VFB_PHASE_OPEN) |
				   VFB_PHASE_BIT(VFB_PHASE_CLOSE) | VFB_PHASE_BIT(VFB_PHASE_DETACH);

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

static void test_phases(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		static const unsigned int node = 1;
		struct vfb_memory_opts opts = {
			.size = sizeof(opts),
			.bytes = 64 * MIB,
			.page_size = VFB_PAGE_4K,
			.policy = VFB_NUMA_BIND,
			.nodes = &node,
			.node_count = 1,
		};
		struct vfb_range range = {.bytes = 64 * MIB, .iova = GIB};
		struct vfb_subscription *subscription;
		struct log log = LOG_INIT;
		struct vfb_device *device;
		const struct vfb_event *event;
		struct host host;
		uint64_t begin;

		host_open(&host, &(struct fake_config){.nodes = 2});
		add_devices(host.fake, 1);
		host_space(&host, backends[b]);
		assert_ok(vfb_memory_create(host.ctx, &opts, &range.memory));
		assert_ok(vfb_subscribe(host.ctx, NULL, note, &log, &subscription));
		begin = fake_now(host.fake);
		assert_ok(vfb_device_open(host.space, addresses[0], &device));
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		vfb_device_close(device);
		vfb_unsubscribe(subscription);

		assert_int_equal(log.of[VFB_PHASE_ATTACH], 1);
		assert_int_equal(log.of[VFB_PHASE_OPEN], 1);
		assert_int_equal(log.of[VFB_PHASE_CLOSE], 1);
		assert_int_equal(log.bytes[VFB_PHASE_POPULATE], 64 * MIB);
		assert_int_equal(log.bytes[VFB_PHASE_MAP], 64 * MIB);
		assert_int_equal(log.bytes[VFB_PHASE_UNMAP], 64 * MIB);
		assert_int_equal(log.of[VFB_PHASE_MAP], stats_of(&host).map_calls);
		for (unsigned int i = 0; i < log.count; i++) {
			bool of_device = of_devices & VFB_PHASE_BIT(log.events[i].phase);

			event = &log.events[i];
			assert_int_equal(event->size, sizeof(*event));
			assert_int_equal(event->result, 0);
			assert_true(event->start_ns >= begin);
			assert_true(event->start_ns + event->duration_ns <= fake_now(host.fake));
			assert_in_range(event->cpu, 0, 7);
			assert_true(event->thread > 0);
			assert_non_null(event->operation);
			assert_string_equal(log.devices[i], of_device ? addresses[0] : "");
		}
		event = first(&log, VFB_PHASE_OPEN);
		assert_int_equal(event->duration_ns, RESET);
		assert_int_equal(event->bytes, 0);
		assert_int_equal(first(&log, VFB_PHASE_CLOSE)->duration_ns, RESET);
		event = first(&log, VFB_PHASE_POPULATE);
		assert_int_equal(event->node, 1);
		assert_string_equal(event->operation, "touch");
		assert_int_equal(event->page_bytes, 4 * KIB);
		assert_int_equal(event->pages * event->page_bytes, event->bytes);
		/* It ran on a CPU of that node. */
		assert_in_range(event->cpu, 4, 7);
		assert_true(event->duration_ns > 0);
		event = first(&log, VFB_PHASE_MAP);
		assert_int_equal(event->node, -1);
		assert_string_equal(event->operation, b ? "IOMMU_IOAS_MAP" : "VFIO_IOMMU_MAP_DMA");
		assert_int_equal(event->page_bytes, 4 * KIB);
		assert_int_equal(event->iova - GIB,
				 event->address - (uintptr_t)address_of(range.memory));
		event = first(&log, VFB_PHASE_UNMAP);
		assert_in_range(event->iova, GIB, GIB + 64 * MIB - 1);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* Failed steps are reported as well. */
static void test_failures(void **state)
{
	struct vfb_range range = {.bytes = 2 * MIB, .iova = GIB};
	struct vfb_subscription *subscription;
	struct log log = LOG_INIT;
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_start(&host, NULL, VFB_BACKEND_TYPE1, 1, &device);
	range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
	assert_ok(vfb_subscribe(host.ctx, NULL, note, &log, &subscription));
	fake_fail_call(host.fake, "madvise", 1, ENOMEM);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -ENOMEM, "possible causes");
	assert_int_equal(first(&log, VFB_PHASE_POPULATE)->result, -ENOMEM);
	fake_fail_call(host.fake, "VFIO_IOMMU_MAP_DMA", 1, EFAULT);
	assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EFAULT, "cannot map");
	assert_int_equal(first(&log, VFB_PHASE_MAP)->result, -EFAULT);
	vfb_device_close(device);
	fake_fail_call(host.fake, "VFIO_GROUP_GET_DEVICE_FD", 1, EIO);
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EIO, addresses[0]);
	assert_int_equal(first(&log, VFB_PHASE_OPEN)->result, -EIO);
	fake_deny(host.fake, "/dev/vfio/1", EACCES);
	log.count = 0;
	assert_fails(vfb_device_open(host.space, addresses[0], &device), -EACCES, "permission");
	assert_int_equal(first(&log, VFB_PHASE_ATTACH)->result, -EACCES);
	vfb_unsubscribe(subscription);
	assert_ok(vfb_memory_destroy(range.memory));
	host_close(&host);
}

static void test_several(void **state)
{
	struct vfb_filter filter = {sizeof(filter), VFB_PHASE_BIT(VFB_PHASE_POPULATE), 0, 0};
	struct vfb_subscription *subscriptions[3];
	static struct log logs[3] = {LOG_INIT, LOG_INIT, LOG_INIT};
	struct vfb_memory *memory;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	for (size_t i = 0; i < 3; i++)
		assert_ok(vfb_subscribe(host.ctx, &filter, note, &logs[i], &subscriptions[i]));
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	vfb_unsubscribe(subscriptions[1]);
	assert_ok(vfb_memory_destroy(memory));
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_memory_populate(memory));
	assert_int_equal(logs[0].count, 2);
	assert_int_equal(logs[1].count, 1);
	assert_int_equal(logs[2].count, 2);
	vfb_unsubscribe(subscriptions[0]);
	vfb_unsubscribe(subscriptions[2]);
	vfb_unsubscribe(NULL);
	assert_ok(vfb_memory_destroy(memory));
	host_close(&host);
}

static void test_refused(void **state)
{
	struct vfb_subscription *subscription = (void *)1;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	assert_fails(vfb_subscribe(host.ctx, NULL, NULL, NULL, &subscription), -EINVAL, "callback");
	assert_null(subscription);
	host_close(&host);
}

static void test_names(void **state)
{
	static const char *const names[] = {
		"attach",   "open",  "populate", "map",	    "unmap",	"close",
		"discover", "reset", "domain",	 "publish", "detach",	"create",
		"destroy",  "wait",  "job",	 "syscall", "user",	"bar",
		"discard",  "touch", "trim",	 "fault",   "register",
	};
	uint64_t phases;

	(void)state;
	assert_int_equal(ARRAY_SIZE(names), VFB_PHASE_COUNT);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_string_equal(vfb_phase_name(i), names[i]);
		assert_ok(vfb_phases_parse(names[i], &phases));
		assert_int_equal(phases, 1 << i);
	}
	assert_ok(vfb_phases_parse("map,open", &phases));
	assert_int_equal(phases, VFB_PHASE_BIT(VFB_PHASE_MAP) | VFB_PHASE_BIT(VFB_PHASE_OPEN));
	assert_ok(vfb_phases_parse("all", &phases));
	assert_int_equal(phases, VFB_PHASE_BIT(VFB_PHASE_COUNT) - 1);
	assert_fails(vfb_phases_parse("map,mop", &phases), -EINVAL, "\"mop\"", "populate");
	assert_int_equal(phases, 0);
	assert_fails(vfb_phases_parse("", &phases), -EINVAL, "\"\"");
	assert_fails(vfb_phases_parse("map,", &phases), -EINVAL, "\"\"");
	assert_string_equal(vfb_phase_name(1000), "unknown");
	assert_string_equal(vfb_phase_name(-1), "unknown");
}

/* A start and a stop over the counting table. */
static void run(struct vfb_ctx *ctx)
{
	struct vfb_space_opts space_opts = {.size = sizeof(space_opts),
					    .backend = VFB_BACKEND_TYPE1};
	struct vfb_memory_opts opts = {.size = sizeof(opts),
				       .bytes = 64 * MIB,
				       .page_size = VFB_PAGE_4K};
	struct vfb_range range = {.bytes = 64 * MIB};
	struct vfb_device *device;
	struct vfb_space *space;

	assert_ok(vfb_space_create(ctx, &space_opts, &space));
	assert_ok(vfb_memory_create(ctx, &opts, &range.memory));
	assert_ok(vfb_device_open(space, addresses[0], &device));
	assert_ok(vfb_space_map(space, &range, 1, NULL));
	assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(space));
	assert_ok(vfb_memory_destroy(range.memory));
}

static void test_costs_nothing(void **state)
{
	struct vfb_subscription *subscription;
	struct log log = LOG_INIT;
	struct counted counted;
	struct vfb_ctx *ctx;
	/* Without touching; the ways to populate are compared by the clock. */
	struct fake *fake = fake_create(&(struct fake_config){.has_filter = true});

	(void)state;
	add_devices(fake, 1);
	counted_init(&counted, fake_sys(fake));
	assert_ok(vfb_ctx_create_with(&counted.sys, NULL, &ctx));
	run(ctx);
	assert_int_equal(atomic_load(&counted.now), 0);
	assert_int_equal(atomic_load(&counted.current_cpu), 0);
	assert_int_equal(atomic_load(&counted.current_thread), 0);
	assert_ok(vfb_subscribe(ctx, NULL, note, &log, &subscription));
	run(ctx);
	vfb_unsubscribe(subscription);
	/* Begin and end of each. */
	assert_int_equal(atomic_load(&counted.now), 2 * log.count);
	run(ctx);
	assert_int_equal(atomic_load(&counted.now), 2 * log.count);
	assert_ok(vfb_ctx_destroy(ctx));
	assert_no_leaks(fake);
	fake_destroy(fake);
}

/* Set while the subscription is there: a call without it is one too many. */
struct guard {
	atomic_bool subscribed;
	atomic_uint calls, strays;
};

static void check_guard(const struct vfb_event *event, void *data)
{
	struct guard *guard = data;

	(void)event;
	atomic_fetch_add(&guard->calls, 1);
	if (!atomic_load(&guard->subscribed))
		atomic_fetch_add(&guard->strays, 1);
}

/* Subscribers come and go while events are emitted by several threads. */
static void test_come_and_go(void **state)
{
	struct vfb_subscription *stays, *subscription;
	struct guard guard = {.subscribed = false}, always = {.subscribed = true};
	struct vfb_filter filter = {sizeof(filter), VFB_PHASE_BIT(VFB_PHASE_POPULATE), 0, 0};
	struct vfb_memory *memory;
	struct vfb_job *job;
	struct host host;
	int changes = 0;

	(void)state;
	host_open(&host, NULL);
	assert_ok(vfb_subscribe(host.ctx, &filter, check_guard, &always, &stays));
	for (int round = 0; round < 5; round++) {
		memory = make_memory(&host, GIB, VFB_PAGE_4K);
		assert_ok(vfb_memory_populate_start(&memory, 1, &job));
		do {
			atomic_store(&guard.subscribed, true);
			assert_ok(
				vfb_subscribe(host.ctx, NULL, check_guard, &guard, &subscription));
			host.sys->sleep(host.sys, 3 * MS);
			vfb_unsubscribe(subscription);
			atomic_store(&guard.subscribed, false);
			changes++;
		} while (vfb_job_wait(job, MS) == -ETIMEDOUT);
		vfb_job_destroy(job);
		assert_ok(vfb_memory_destroy(memory));
	}
	assert_true(changes > 10);
	assert_true(atomic_load(&guard.calls) > 0);
	assert_int_equal(atomic_load(&guard.strays), 0);
	/* Nobody else missed one. */
	assert_int_equal(atomic_load(&always.calls), 5 * 32);
	vfb_unsubscribe(stays);
	host_close(&host);
}

struct slow {
	sem_t entered;
	atomic_bool left;
};

static void be_slow(const struct vfb_event *event, void *data)
{
	struct slow *slow = data;

	(void)event;
	sem_post(&slow->entered);
	nanosleep(&(struct timespec){.tv_nsec = 50 * MS}, NULL);
	atomic_store(&slow->left, true);
}

/* A call that runs is waited for. */
static void test_slow(void **state)
{
	struct vfb_subscription *subscription;
	struct vfb_memory *memory;
	struct slow slow = {.left = false};
	struct vfb_job *job;
	struct host host;

	(void)state;
	host_open(&host, NULL);
	sem_init(&slow.entered, 0, 0);
	memory = make_memory(&host, 2 * MIB, VFB_PAGE_4K);
	assert_ok(vfb_subscribe(host.ctx, NULL, be_slow, &slow, &subscription));
	assert_ok(vfb_memory_populate_start(&memory, 1, &job));
	fake_outside_begin(host.fake);
	sem_wait(&slow.entered);
	fake_outside_end(host.fake);
	assert_false(atomic_load(&slow.left));
	vfb_unsubscribe(subscription);
	assert_true(atomic_load(&slow.left));
	vfb_job_destroy(job);
	assert_ok(vfb_memory_destroy(memory));
	sem_destroy(&slow.entered);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases),	    cmocka_unit_test(test_failures),
		cmocka_unit_test(test_several),	    cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),	    cmocka_unit_test(test_costs_nothing),
		cmocka_unit_test(test_come_and_go), cmocka_unit_test(test_slow),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
