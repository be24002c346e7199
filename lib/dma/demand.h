/* SPDX-License-Identifier: MIT */
/*
 * Ranges that are mapped on demand, and their windows. A window is a word with its state and the
 * number of holds, so that looking at it, holding it and taking it need no lock. Who has taken it
 * (BUSY) maps or unmaps it; others wait for that. Jobs that unmap or discard the range claim it
 * with the lock of the space held. What the kernel has mapped are extents of the index.
 */
#ifndef VFB_DEMAND_H
#define VFB_DEMAND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <vfioboost/on_demand.h>

struct vfb_counter_lane;
struct vfb_demand_table;
struct vfb_faults;
struct vfb_mapping;

/* The word of a window: its state, flags, and the number of holds above them. */
#define VFB_WINDOW_ABSENT 0u
#define VFB_WINDOW_MAPPED 1u
/* A thread maps or evicts it. */
#define VFB_WINDOW_BUSY 2u
/* A job unmaps or discards it, or has. */
#define VFB_WINDOW_CLAIMED 3u
#define VFB_WINDOW_STATE   3u
/* Somebody waits until it is no longer busy. */
#define VFB_WINDOW_WAITED 4u
/* It was populated, and not discarded since. */
#define VFB_WINDOW_POPULATED 8u
#define VFB_WINDOW_HOLD	     256u
#define VFB_WINDOW_MAX_HOLDS (UINT32_MAX / VFB_WINDOW_HOLD)

struct vfb_window {
	atomic_uint word;
	/* vfb_demands.tick when it was touched last. */
	atomic_uint stamp;
};

/* A range that is mapped on demand. Parts of its mapping that are discarded share it. */
struct vfb_demand {
	atomic_uint refs;
	/* It is in the table of readers. */
	atomic_bool listed;
	uint64_t iova, offset, window_bytes;
	struct vfb_memory *memory;
	uint32_t flags;
	/* The window where a device that reads on faults next, and how many are mapped ahead then;
	 * guarded by the lock of the faults. */
	size_t fault_next, fault_ahead;
	size_t count;
	struct vfb_window windows[];
};

/* Threads that wait for windows. */
struct vfb_window_queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

#define VFB_WINDOW_QUEUES 64

/* What a space maps on demand. */
struct vfb_demands {
	enum vfb_on_demand way;
	const char *reason;
	/* The ranges, for readers (RCU); it may have some that were unmapped, and lack new ones. */
	struct vfb_demand_table *_Atomic table;
	/* Serializes replacing it. */
	pthread_mutex_t lock;
	struct vfb_window_queue queues[VFB_WINDOW_QUEUES];
	/* NULL unless devices fault. */
	struct vfb_faults *faults;
	/* Calls that touch; NULL if everything is mapped statically. */
	struct vfb_counter_lane *touches;
	/* Advances when windows are mapped or trimmed. */
	atomic_uint tick;
	atomic_uint_fast64_t mapped, coalesced, evicted, mapped_bytes, populated_bytes;
};

/* Chooses the way. -ENOTSUP: it is not possible with this backend, or in a space that is tracked.
 */
int vfb_demands_init(struct vfb_demands *demands, const struct vfb_space_opts *opts,
		     enum vfb_backend backend);
void vfb_demands_destroy(struct vfb_demands *demands);

/* Whether windows are mapped and unmapped. */
static inline bool vfb_demands_have_windows(const struct vfb_demands *demands)
{
	return demands->way == VFB_ON_DEMAND_TOUCH || demands->way == VFB_ON_DEMAND_FAULT;
}

/* Of a range that was checked; @window_bytes: not 0. NULL: no memory. */
struct vfb_demand *vfb_demand_create(const struct vfb_range *range, uint64_t window_bytes);
void vfb_demand_ref(struct vfb_demand *demand);
/* NULL is allowed. */
void vfb_demand_unref(struct vfb_demand *demand);

static inline uint64_t vfb_demand_end(const struct vfb_demand *demand)
{
	return demand->iova + demand->count * demand->window_bytes;
}

static inline size_t vfb_demand_number(const struct vfb_demand *demand, uint64_t iova)
{
	return (iova - demand->iova) / demand->window_bytes;
}

/* Takes a window in state @from that, if it is mapped, nobody holds. */
bool vfb_window_take(struct vfb_window *window, unsigned int from);
/* Ends that, or a claim, with flags that are added, and @holds. Wakes those who wait. */
void vfb_window_set(struct vfb_demands *demands, struct vfb_window *window, unsigned int state,
		    unsigned int flags, unsigned int holds);
/* Waits while it is busy. */
void vfb_window_wait(struct vfb_space *space, struct vfb_window *window);

/*
 * The range at an IOVA, without a reference, between vfb_demand_read_begin() and _end(); NULL:
 * there is none, or it is not known yet.
 */
void vfb_demand_read_begin(void);
struct vfb_demand *vfb_demand_look_up(struct vfb_demands *demands, uint64_t iova);
void vfb_demand_read_end(struct vfb_demands *demands);

/* The same in the index, with a reference, and whether it is listed. -ENOENT: devices reach nothing
 * there. NULL and an end: it is mapped statically up to there. */
int vfb_demand_find(struct vfb_space *space, uint64_t iova, struct vfb_demand **out, uint64_t *end);

/* All ranges, with references. The caller frees the array. */
int vfb_demand_list_locked(struct vfb_space *space, struct vfb_demand ***list, size_t *count);

/*
 * Claims the windows of a mapping, or none: -EBUSY if one is held, or being mapped or evicted. Does
 * nothing for a mapping that is not on demand.
 */
int vfb_demand_claim_locked(struct vfb_space *space, struct vfb_mapping *mapping);
/* Ends that for a mapping that stays: its windows are as the extents are. */
void vfb_demand_settle_locked(struct vfb_space *space, struct vfb_mapping *mapping);
/* Whether a part consists of whole windows. */
bool vfb_demand_is_whole(const struct vfb_demand *demand, uint64_t iova, uint64_t bytes);

/* Populates and maps the windows that a part overlaps, as vfb_space_touch(). */
int vfb_touch_windows(struct vfb_space *space, uint64_t iova, uint64_t bytes);
/* -EINVAL: a part ends beyond the address space. */
int vfb_touch_check(uint64_t iova, uint64_t bytes);

/* All extents are gone with the domain. */
void vfb_demand_lose_locked(struct vfb_space *space);
/* Bytes of the ranges that are not discarded and not mapped now. */
uint64_t vfb_demand_idle_bytes_locked(struct vfb_space *space);

#endif
