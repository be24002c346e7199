/* SPDX-License-Identifier: MIT */
/* Events of subscribers. */
#include <pthread.h>

#include "scenario.h"

#define BYTES  (16 * MIB)
#define IOVA   scenario_iova
#define PHASES VFB_PHASE_COUNT
#define MAX    256

struct log {
	pthread_mutex_t lock;
	struct vfb_event events[MAX];
	char devices[MAX][16];
	size_t count;
};

static void keep(const struct vfb_event *event, void *data)
{
	struct log *log = data;

	pthread_mutex_lock(&log->lock);
	if (log->count < MAX) {
		log->events[log->count] = *event;
		snprintf(log->devices[log->count], sizeof(log->devices[0]), "%s",
			 event->device ? event->device : "");
		log->count++;
	}
	pthread_mutex_unlock(&log->lock);
}

/* The phases that are about one device, and those about a range. */
static const uint64_t of_devices = VFB_PHASE_BIT(VFB_PHASE_DISCOVER) |
				   VFB_PHASE_BIT(VFB_PHASE_ATTACH) | VFB_PHASE_BIT(VFB_PHASE_OPEN) |
				   VFB_PHASE_BIT(VFB_PHASE_CLOSE) | VFB_PHASE_BIT(VFB_PHASE_DETACH);
static const uint64_t of_ranges = VFB_PHASE_BIT(VFB_PHASE_POPULATE) | VFB_PHASE_BIT(VFB_PHASE_MAP) |
				  VFB_PHASE_BIT(VFB_PHASE_UNMAP) | VFB_PHASE_BIT(VFB_PHASE_PUBLISH);
/* Those that ask the kernel for something that takes time on any machine. */
static const uint64_t of_kernel = VFB_PHASE_BIT(VFB_PHASE_OPEN) | VFB_PHASE_BIT(VFB_PHASE_CLOSE) |
				  VFB_PHASE_BIT(VFB_PHASE_POPULATE) | VFB_PHASE_BIT(VFB_PHASE_MAP) |
				  VFB_PHASE_BIT(VFB_PHASE_UNMAP);

/* A child lies within its parent, which is reported after it. */
static void check_parent(const struct log *log, size_t i)
{
	const struct vfb_event *event = &log->events[i], *parent;

	for (size_t j = i + 1; j < log->count && event->parent; j++) {
		parent = &log->events[j];
		if (parent->id != event->parent)
			continue;
		assert_true(parent->start_ns <= event->start_ns);
		assert_true(parent->start_ns + parent->duration_ns + parent->callback_ns >=
			    event->start_ns + event->duration_ns);
		return;
	}
	assert_int_equal(event->parent, 0);
}

static void check_event(const struct fixture *f, const struct log *log, size_t i)
{
	const struct vfb_event *event = &log->events[i];
	bool of_device = of_devices & VFB_PHASE_BIT(event->phase);

	assert_int_equal(event->size, sizeof(*event));
	assert_int_equal(event->result, 0);
	assert_true(event->start_ns > 0);
	if (of_kernel & VFB_PHASE_BIT(event->phase))
		assert_true(event->duration_ns > 0);
	if (event->phase == VFB_PHASE_ATTACH && f->machine->attach_takes_time)
		assert_true(event->duration_ns > 0);
	assert_non_null(event->operation);
	assert_true(event->id > 0 && event->id != event->parent);
	assert_true(event->thread > 0);
	assert_true(event->cpu >= 0);
	assert_int_equal(log->devices[i][0] != '\0', of_device);
	if (of_device)
		assert_true(!strcmp(log->devices[i], device_of(f, 0, 2)) ||
			    !strcmp(log->devices[i], device_of(f, 1, 2)));
	if (of_ranges & VFB_PHASE_BIT(event->phase))
		assert_int_not_equal(event->bytes, 0);
	if (of_device)
		assert_int_equal(event->bytes, 0);
	if (event->phase == VFB_PHASE_MAP || event->phase == VFB_PHASE_UNMAP)
		assert_in_range(event->iova, IOVA, IOVA + 2 * BYTES - 1);
	if (event->phase == VFB_PHASE_MAP || event->phase == VFB_PHASE_POPULATE)
		assert_int_not_equal(event->address, 0);
	/* Everything happens in the library's threads, but for what is done without a job. */
	if (event->phase == VFB_PHASE_OPEN)
		assert_int_equal(event->node, strcmp(log->devices[i], device_of(f, 0, 2)) ?
						      f->machine->last_node :
						      0);
}

static void every_phase(struct fixture *f)
{
	static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct vfb_memory *memory = make_memory(f, 2 * BYTES, VFB_PAGE_4K);
	struct vfb_range range = range_of(memory, 2 * BYTES, IOVA);
	uint64_t bytes[PHASES] = {0};
	size_t count[PHASES] = {0};
	struct vfb_subscription *subscription;
	struct vfb_space *space = make_space(f);
	struct vfb_device *devices[2];

	assert_error(vfb_subscribe(f->ctx, NULL, NULL, NULL, &subscription), -EINVAL);
	assert_ok(vfb_subscribe(f->ctx, NULL, keep, &log, &subscription));
	open_devices(f, space, devices, 2);
	assert_ok(vfb_space_map(space, &range, 1, NULL));
	assert_ok(vfb_space_unmap(space, &range, 1, NULL));
	assert_ok(vfb_devices_close(devices, 2, NULL));
	vfb_unsubscribe(subscription);
	/* Nobody listens any more. */
	assert_ok(vfb_device_open(space, f->machine->devices[0], &devices[0]));
	vfb_device_close(devices[0]);

	assert_in_range(log.count, 8, MAX - 1);
	for (size_t i = 0; i < log.count; i++) {
		assert_in_range(log.events[i].phase, 0, PHASES - 1);
		check_event(f, &log, i);
		check_parent(&log, i);
		bytes[log.events[i].phase] += log.events[i].bytes;
		count[log.events[i].phase]++;
	}
	/* Opened, mapped, unmapped, closed. */
	assert_int_equal(count[VFB_PHASE_JOB], 4);
	assert_int_equal(count[VFB_PHASE_DISCOVER], 2);
	assert_int_equal(count[VFB_PHASE_DETACH], 2);
	assert_int_equal(count[VFB_PHASE_DOMAIN], 1);
	assert_int_equal(count[VFB_PHASE_PUBLISH], 2);
	assert_int_equal(count[VFB_PHASE_ATTACH], 2);
	assert_int_equal(count[VFB_PHASE_OPEN], 2);
	assert_int_equal(count[VFB_PHASE_CLOSE], 2);
	assert_int_equal(bytes[VFB_PHASE_POPULATE], 2 * BYTES);
	assert_int_equal(bytes[VFB_PHASE_MAP], 2 * BYTES);
	assert_int_equal(bytes[VFB_PHASE_UNMAP], 2 * BYTES);
	assert_ok(vfb_memory_destroy(memory));
	assert_ok(vfb_space_destroy(space));
}

/* Failed steps are reported as well. */
static void failures(struct fixture *f)
{
	static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct vfb_subscription *subscription;
	struct vfb_space *holder, *space = make_space(f);
	struct vfb_device *held, *device;
	bool reported = false;

	holder = make_space_with_device(f, &held);
	assert_ok(vfb_subscribe(f->ctx, NULL, keep, &log, &subscription));
	assert_error(vfb_device_open(space, f->machine->devices[0], &device), -EBUSY);
	vfb_unsubscribe(subscription);
	for (size_t i = 0; i < log.count; i++)
		reported |= log.events[i].result == -EBUSY;
	assert_true(reported);
	end_space(holder, held);
	assert_ok(vfb_space_destroy(space));
}

const struct scenario event_scenarios[] = {
	{.name = "events of every phase", .run = every_phase},
	{.name = "events of failures", .run = failures},
	{0},
};
