/* SPDX-License-Identifier: MIT */
#ifndef VFB_CALLS_H
#define VFB_CALLS_H

#include "dma/space.h"
#include "engine/spread.h"

/* One map or unmap call. */
struct vfb_call {
	uint64_t iova, bytes;
	/* The memory to map there. */
	const struct vfb_memory *memory;
	uint64_t offset;
	uint32_t flags;
	/* The entries of the batch that it belongs to. */
	size_t first_entry, entry_count;
	/* Of a map where the kernel serializes these: pieces that are still to be populated. */
	size_t pieces_left;
	/* -EINPROGRESS until the call was made. */
	int error;
};

/* Calls that workers make in parallel, or one worker if the kernel serializes them. */
struct vfb_calls {
	struct vfb_space *space;
	struct vfb_call *calls;
	size_t count, capacity;
	/* A failure cancels the remaining calls. */
	bool all_or_nothing;
	struct vfb_spread spread;
};

int vfb_calls_add(struct vfb_calls *calls, const struct vfb_call *call);
/* Adds a map call for each block of the part of memory. */
int vfb_calls_add_blocks(struct vfb_calls *calls, const struct vfb_call *part);
void vfb_calls_free(struct vfb_calls *calls);

/* Makes one map call. Returns call->error. */
int vfb_call_map(struct vfb_space *space, struct vfb_call *call);

/* In how many threads the kernel makes the calls in parallel, @width at most; 0 for no limit. */
unsigned int vfb_calls_width(const struct vfb_calls *calls, unsigned int width);

/* Make all calls as tasks of @job. A failure becomes its result. @width: 0 for no limit. */
void vfb_calls_map(struct vfb_calls *calls, struct vfb_job *job);
void vfb_calls_unmap(struct vfb_calls *calls, struct vfb_job *job, unsigned int width);

#endif
