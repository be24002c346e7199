/* SPDX-License-Identifier: MIT */
#include "memory/ways.h"

#include <stdlib.h>

#include "sys/fault.h"

/* So many steps of each way come first. */
#define FIRST_STEPS 4
#define FIRST_BYTES (8 * MIB)
/* Creating a child costs about 0.1 ms, which is one percent of this. */
#define MOST_BYTES (32 * MIB)
/* After so many bytes without it a way has to be tried again. */
#define FORGET_BYTES (8 * GIB)
#define PAGE_SIZES   (VFB_PAGE_HUGE + 1)
/* So long a thread believes that it has no seccomp filter: pieces are populated for longer. */
#define LOOK_AGAIN_NS UINT64_C(100000000)

/*
 * What a MiB costs, in nanoseconds; 0: not known. Updates of several workers may get lost, which
 * makes the average a little older.
 */
struct way_cost {
	atomic_uint_fast64_t ns;
	atomic_uint steps;
};

struct vfb_ways {
	/* By size of the pages, and whether they are a file's. */
	struct way_cost costs[PAGE_SIZES][2][VFB_WAY_COUNT];
};

int vfb_ways_create(struct vfb_ways **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : vfb_fail_memory();
}

void vfb_ways_destroy(struct vfb_ways *ways)
{
	free(ways);
}

static struct way_cost *ways_of(struct vfb_ways *ways, const struct vfb_memory *memory)
{
	return ways->costs[memory->page_size][memory->fd >= 0];
}

static uint64_t way_ns(const struct way_cost *cost)
{
	return atomic_load_explicit(&cost->ns, memory_order_relaxed);
}

/* The other threads of the process are why touching may cost an eighth more. */
enum vfb_way vfb_ways_choose(struct vfb_ways *ways, const struct vfb_memory *memory,
			     uint64_t *bytes)
{
	struct way_cost *costs = ways_of(ways, memory);
	uint64_t touch, advise;

	*bytes = FIRST_BYTES;
	for (int way = 0; way < VFB_WAY_COUNT; way++)
		if (atomic_load_explicit(&costs[way].steps, memory_order_relaxed) < FIRST_STEPS &&
		    atomic_fetch_add(&costs[way].steps, 1) < FIRST_STEPS)
			return way;
	*bytes = MOST_BYTES;
	touch = way_ns(&costs[VFB_WAY_TOUCH]);
	advise = way_ns(&costs[VFB_WAY_ADVISE]);
	return touch <= advise + advise / 8 ? VFB_WAY_TOUCH : VFB_WAY_ADVISE;
}

/* A thread that lost its CPU for a while must not decide it. */
static uint64_t way_average(uint64_t old, uint64_t new)
{
	if (!old)
		return new;
	if (new < old)
		return (old + new) / 2;
	return old + (new < 2 * old ? new - old : old) / 4;
}

/* The way that is not in use is believed to get cheaper, so that it is tried again after a while.
 */
void vfb_ways_add(struct vfb_ways *ways, const struct vfb_memory *memory, enum vfb_way way,
		  uint64_t bytes, uint64_t ns)
{
	struct way_cost *costs = ways_of(ways, memory), *other = &costs[!way];
	double part = (double)bytes / FORGET_BYTES, ns_per_mib = (double)ns * MIB / bytes;

	atomic_store_explicit(&costs[way].ns,
			      way_average(way_ns(&costs[way]), (uint64_t)ns_per_mib + 1),
			      memory_order_relaxed);
	atomic_store_explicit(&other->ns, (uint64_t)(way_ns(other) * (part < 1 ? 1 - part : 0)),
			      memory_order_relaxed);
}

/*
 * A filter ends with its thread only, but may be added at any time, by any thread
 * (SECCOMP_FILTER_FLAG_TSYNC): while the memory of a job is populated, or between two jobs.
 */
static bool thread_has_filter(struct vfb_job *job)
{
	static _Thread_local struct {
		uint64_t ns;
		bool found;
	} look;
	struct vfb_field seccomp = {.name = "Seccomp", .base = 10};
	const struct vfb_sys *sys = job->sys;
	uint64_t first = atomic_load_explicit(&job->no_filter_ns, memory_order_relaxed);

	if (look.found)
		return true;
	if (first && look.ns >= first && sys->now(sys) - look.ns <= LOOK_AGAIN_NS)
		return false;
	look.found = vfb_sys_read_fields(sys, "/proc/thread-self/status", &seccomp, 1) ||
		     seccomp.value;
	if (!look.found) {
		look.ns = sys->now(sys);
		if (!first)
			atomic_compare_exchange_strong(&job->no_filter_ns, &first, look.ns);
	}
	return look.found;
}

/* What the library has not mapped may be anything. It stays what it is. */
static bool memory_is_plain(struct vfb_memory *memory)
{
	enum vfb_plainness plain = atomic_load(&memory->plain);

	if (!memory->adopted)
		return true;
	if (plain == VFB_PLAIN_UNKNOWN) {
		plain = vfb_sys_is_memory(memory->ctx->sys, (uintptr_t)memory->address,
					  memory->bytes, memory->fd) ?
				VFB_PLAIN :
				VFB_NOT_PLAIN;
		atomic_store(&memory->plain, plain);
	}
	return plain == VFB_PLAIN;
}

bool vfb_ways_may_touch(struct vfb_memory *memory, struct vfb_job *job)
{
	return memory_is_plain(memory) && !thread_has_filter(job);
}
