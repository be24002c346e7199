/* SPDX-License-Identifier: MIT */
/* What the threads of fuzz_api share: objects of the library, and who is using them. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfioboost.h>

#include "context.h"
#include "fake.h"
#include "input.h"

#define WORLD_ADDRESSES 6
#define WORLD_SLOTS	4
#define WORLD_ENTRIES	4
#define WORLD_RAW	8
/* A device that only bind and unbind use. */
#define WORLD_BOUND "0000:00:05.0"

extern const char *const world_addresses[WORLD_ADDRESSES];

enum world_kind {
	WORLD_SPACE,
	WORLD_MEMORY,
	WORLD_DEVICE,
	WORLD_JOB,
	WORLD_SUBSCRIPTION,
	WORLD_STATS,
	WORLD_KINDS,
};

/* An object is destroyed only when no other thread is using it. */
struct slot {
	void *object;
	unsigned int users;
};

/* What the caller has made for the library to adopt; released when all objects are destroyed. */
struct world_raw {
	/* Of a file; or of a container or iommufd, a group and a device. -1: none. */
	int fds[3];
	void *address;
	size_t bytes;
};

struct world {
	struct fake *fake;
	struct vfb_ctx *ctx;
	/* Of the slots and @raws; never held while the library is called. */
	pthread_mutex_t lock;
	struct slot slots[WORLD_KINDS][WORLD_SLOTS];
	struct world_raw raws[WORLD_RAW];
	unsigned int raw_count;
	/* One thread at a time binds a device, and one reaper can run. */
	atomic_flag binding, reaping;
	_Atomic(struct vfb_reaper *) reaper;
	pthread_mutex_t trace_lock;
	struct vfb_trace *trace;
	int trace_fd;
};

/* A job with what it was given, which stays until it has ended. */
struct world_job {
	struct vfb_job *job;
	struct vfb_range ranges[WORLD_ENTRIES];
	struct vfb_device_request requests[WORLD_ENTRIES];
	struct vfb_bar bars[WORLD_ENTRIES];
	struct vfb_reset_request resets[WORLD_ENTRIES];
	struct vfb_memory *memories[WORLD_ENTRIES];
	struct vfb_device *devices[WORLD_ENTRIES];
};

/* An object of a kind to use, NULL when there is none there; to be given back. */
void *world_borrow(struct world *world, enum world_kind kind, unsigned int index);
void world_give_back(struct world *world, enum world_kind kind, const void *object);
/* One to destroy that nobody uses, or NULL; it has no slot any more. */
void *world_take(struct world *world, enum world_kind kind, unsigned int index);
/* Puts an object into a free slot; false when there is none. */
bool world_put(struct world *world, enum world_kind kind, void *object);

/* Makes one call, or a few that belong together, as the input says. */
void world_call(struct world *world, struct input *input);
/* Destroys a job, and keeps what it has opened. */
void world_job_end(struct world *world, struct world_job *job);
void world_stop_reaper(struct world *world);
/* What the caller has made. */
void world_release_raw(struct world *world);
/* Destroys everything; whatever fails is a bug. */
void world_end(struct world *world);

/* A subscriber that calls the library; @arg: the world. */
void world_callback(const struct vfb_event *event, void *arg);

#endif
