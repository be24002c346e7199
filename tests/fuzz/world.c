/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <stdio.h>
#include <unistd.h>

const char *const world_addresses[WORLD_ADDRESSES] = {
	"0000:01:00.0", "0000:01:00.1", "0000:01:01.0",
	"0000:01:02.0", "0000:00:03.0", "0000:00:04.0",
};

void *world_borrow(struct world *world, enum world_kind kind, unsigned int index)
{
	struct slot *slot = &world->slots[kind][index % WORLD_SLOTS];
	void *object;

	pthread_mutex_lock(&world->lock);
	object = slot->object;
	if (object)
		slot->users++;
	pthread_mutex_unlock(&world->lock);
	return object;
}

void world_give_back(struct world *world, enum world_kind kind, const void *object)
{
	if (!object)
		return;
	pthread_mutex_lock(&world->lock);
	for (unsigned int i = 0; i < WORLD_SLOTS; i++)
		if (world->slots[kind][i].object == object)
			world->slots[kind][i].users--;
	pthread_mutex_unlock(&world->lock);
}

void *world_take(struct world *world, enum world_kind kind, unsigned int index)
{
	struct slot *slot = &world->slots[kind][index % WORLD_SLOTS];
	void *object = NULL;

	pthread_mutex_lock(&world->lock);
	if (!slot->users) {
		object = slot->object;
		slot->object = NULL;
	}
	pthread_mutex_unlock(&world->lock);
	return object;
}

bool world_put(struct world *world, enum world_kind kind, void *object)
{
	bool found = false;

	pthread_mutex_lock(&world->lock);
	for (unsigned int i = 0; i < WORLD_SLOTS && !found; i++) {
		if (world->slots[kind][i].object)
			continue;
		world->slots[kind][i].object = object;
		found = true;
	}
	pthread_mutex_unlock(&world->lock);
	return found;
}

/* ---- Callbacks ---- */

static void call_space(struct world *world, unsigned int choice)
{
	struct vfb_space *space = world_borrow(world, WORLD_SPACE, choice);
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	struct vfb_translation piece;
	struct vfb_range range = {.bytes = 4096};

	if (!space)
		return;
	vfb_space_info(space, &info);
	vfb_space_translate(space, FAKE_MIB, 4096, &piece, 1);
	/* It would wait. */
	if (choice & 8 && !vfb_space_map(space, &range, 1, NULL))
		abort();
	if (choice & 16 && vfb_space_unmap_all(space) != -EDEADLK)
		abort();
	world_give_back(world, WORLD_SPACE, space);
}

static void call_job(struct world *world, unsigned int choice)
{
	struct world_job *job = world_borrow(world, WORLD_JOB, choice);
	struct vfb_job_progress progress = VFB_JOB_PROGRESS_INIT;

	if (!job)
		return;
	vfb_job_progress(job->job, &progress);
	vfb_job_wait(job->job, 0);
	if (choice & 8)
		vfb_job_cancel(job->job);
	world_give_back(world, WORLD_JOB, job);
}

static void call_subscription(struct world *world, unsigned int choice)
{
	struct vfb_subscription *subscription = world_take(world, WORLD_SUBSCRIPTION, choice);

	vfb_unsubscribe(subscription);
}

void world_callback(const struct vfb_event *event, void *arg)
{
	struct world *world = arg;
	unsigned int choice = (event->id * UINT64_C(0x9e3779b97f4a7c15)) >> 50;

	/* The library may hold a lock. */
	if (event->phase == VFB_PHASE_SYSCALL)
		return;
	switch (choice % 8) {
	case 0:
		call_space(world, choice / 8);
		break;
	case 1:
		call_job(world, choice / 8);
		break;
	case 2:
		if (choice / 8 % 32 == 0)
			call_subscription(world, choice / 8);
		break;
	default:
		vfb_span_end(vfb_span_begin(world->ctx, "callback"), -EIO);
	}
}

/* ---- The end ---- */

void world_job_end(struct world *world, struct world_job *job)
{
	if (!job)
		return;
	vfb_job_destroy(job->job);
	for (unsigned int i = 0; i < WORLD_ENTRIES; i++)
		if (job->requests[i].device &&
		    !world_put(world, WORLD_DEVICE, job->requests[i].device))
			vfb_device_close(job->requests[i].device);
	free(job);
}

/* What the kernel still has says which object was left. */
static void must(struct world *world, const char *what, int error)
{
	char text[4096] = "";

	if (!error)
		return;
	fprintf(stderr, "%s: %d: %s\n", what, error, vfb_last_error());
	fake_leaks(world->fake, text, sizeof(text));
	fprintf(stderr, "left over:\n%s", text);
	abort();
}

#define MUST(call) must(world, #call, call)

/*
 * After the time limit of a batch its devices go on opening or closing in the background. The
 * machine's clock does not wait for a thread that has no CPU.
 */
static void must_in_time(struct world *world, const char *what, int (*destroy)(void *object),
			 void *object)
{
	const struct vfb_sys *sys = fake_sys(world->fake);
	int error = destroy(object);

	for (int tries = 0; error == -EBUSY && tries < 1000; tries++) {
		sys->sleep(sys, 10 * FAKE_MS);
		usleep(1000);
		error = destroy(object);
	}
	must(world, what, error);
}

static int destroy_space(void *space)
{
	return vfb_space_destroy(space);
}

static int destroy_ctx(void *ctx)
{
	return vfb_ctx_destroy(ctx);
}

/* Mappings that were released to another process come back first. */
static void empty_space(struct world *world, void *space)
{
	vfb_space_adopt_addresses(space, NULL, 0);
	MUST(vfb_space_unmap_all(space));
}

static void end_job(struct world *world, void *job)
{
	world_job_end(world, job);
}

static void end_subscription(struct world *world, void *subscription)
{
	(void)world;
	vfb_unsubscribe(subscription);
}

static void end_stats(struct world *world, void *stats)
{
	(void)world;
	vfb_stats_destroy(stats);
}

static void end_device(struct world *world, void *device)
{
	MUST(vfb_device_close(device));
}

static void end_space(struct world *world, void *space)
{
	must_in_time(world, "vfb_space_destroy", destroy_space, space);
}

static void end_memory(struct world *world, void *memory)
{
	MUST(vfb_memory_destroy(memory));
}

static void each_object(struct world *world, enum world_kind kind,
			void (*visit)(struct world *world, void *object))
{
	for (unsigned int i = 0; i < WORLD_SLOTS; i++)
		if (world->slots[kind][i].object)
			visit(world, world->slots[kind][i].object);
}

/* A callback of the library's threads may use it for a moment. */
static void *take_unused(struct world *world, enum world_kind kind, unsigned int index)
{
	struct slot *slot = &world->slots[kind][index];
	void *object = NULL;
	bool used;

	do {
		pthread_mutex_lock(&world->lock);
		used = slot->users;
		if (!used) {
			object = slot->object;
			slot->object = NULL;
		}
		pthread_mutex_unlock(&world->lock);
		if (used)
			usleep(1000);
	} while (used);
	return object;
}

/* Takes each of them out of its slot first. */
static void end_objects(struct world *world, enum world_kind kind,
			void (*end)(struct world *world, void *object))
{
	for (unsigned int i = 0; i < WORLD_SLOTS; i++) {
		void *object = take_unused(world, kind, i);

		if (object)
			end(world, object);
	}
}

void world_end(struct world *world)
{
	world_stop_reaper(world);
	end_objects(world, WORLD_JOB, end_job);
	end_objects(world, WORLD_SUBSCRIPTION, end_subscription);
	end_objects(world, WORLD_STATS, end_stats);
	each_object(world, WORLD_SPACE, empty_space);
	end_objects(world, WORLD_DEVICE, end_device);
	end_objects(world, WORLD_SPACE, end_space);
	end_objects(world, WORLD_MEMORY, end_memory);
	must_in_time(world, "vfb_ctx_destroy", destroy_ctx, world->ctx);
	vfb_trace_destroy(world->trace);
	if (world->trace_fd >= 0)
		close(world->trace_fd);
	world_release_raw(world);
}
