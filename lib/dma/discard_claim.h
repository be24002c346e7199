/* SPDX-License-Identifier: MIT */
/*
 * Discarding and restoring parts of memory. A job holds the addresses, so that nobody begins to map
 * them, and claims the mappings of its entries in each space. Then it takes two steps: it unmaps
 * and returns pages, or populates and maps. Two more steps take entries that have failed back.
 */
#ifndef VFB_DISCARD_CLAIM_H
#define VFB_DISCARD_CLAIM_H

#include <vfioboost/discard.h>

#include "dma/calls.h"
#include "dma/spaces.h"

struct discard_entry {
	struct vfb_memory_range *range;
	/* Entries of adjacent memory form a run, which the kernel may have mapped as one: both ends
	 * of it, as addresses. */
	uint64_t run_first, run_last;
	/* The size of the pieces for workers. */
	uint64_t piece_bytes;
	/* Guarded by the lock of the job, as is @stuck: it could not be taken back. */
	int error;
	bool stuck;
};

/* A mapping, or the part of it that belongs to one entry. */
struct discard_claim {
	uint64_t iova, bytes;
	size_t entry;
	/* NULL until it is claimed. */
	struct vfb_mapping *mapping;
};

/* What is claimed in a space, and the calls that unmap or map it. A call whose error is 0 was made
 * last: forward, or, if it is -EINPROGRESS, not at all or backward. */
struct discard_space {
	struct vfb_space *space;
	struct discard *owner;
	struct discard_claim *claims;
	size_t claim_count, claim_room;
	struct vfb_calls calls;
	struct vfb_spread spread;
};

struct discard {
	struct vfb_memory *memory;
	/* Restores instead. */
	bool restores;
	struct discard_entry *entries;
	size_t count;
	struct discard_space *spaces;
	size_t space_count;
};

/*
 * Claims the mappings of the entries in all spaces, and lists the calls, or fails and changes
 * nothing. The addresses must be held. vfb_discard_settle() ends it.
 */
int vfb_discard_claim(struct discard *discard);

/* Sets the state of the mappings by that of their entries, and publishes it. */
void vfb_discard_settle(struct discard *discard);

void vfb_discard_free(struct discard *discard);

#endif
