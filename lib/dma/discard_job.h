/* SPDX-License-Identifier: MIT */
#ifndef VFB_DISCARD_JOB_H
#define VFB_DISCARD_JOB_H

#include "dma/discard_claim.h"

/* The part of an entry that one worker populates or returns. */
struct discard_piece {
	size_t entry;
	uint64_t offset, bytes;
	int node;
};

/* The pieces of one node, or all of them. */
struct discard_node {
	struct vfb_spread spread;
	struct discard_job *owner;
	size_t first, count;
};

struct discard_job {
	struct vfb_job job;
	struct discard discard;
	struct vfb_hold hold;
	/* Held addresses, one for each entry. */
	struct vfb_held *held;
	struct discard_piece *pieces;
	size_t piece_count;
	struct discard_node *nodes;
	size_t node_count;
	/* Asks which nodes the pieces belong to, before the first step. */
	struct vfb_task asker;
	/* Number of steps begun. */
	unsigned int step;
	unsigned int width;
	bool best_effort;
	/* In the calling thread. */
	bool here;
	pthread_mutex_t lock;
};

/* They take the steps of a job that is prepared. */
extern const struct vfb_job_ops vfb_discard_ops, vfb_restore_ops;

#endif
