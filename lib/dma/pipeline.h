/* SPDX-License-Identifier: MIT */
#ifndef VFB_PIPELINE_H
#define VFB_PIPELINE_H

#include "dma/space.h"
#include "engine/job.h"

/*
 * Mapping a batch of ranges, each in pieces: a worker of its node populates a piece, and what is
 * populated is mapped as soon as there is a domain. Where the kernel maps in parallel, the worker
 * maps the piece it has populated.
 *
 * Where it does not (type1), each range is mapped by one call when all are populated. Mapping
 * earlier makes both slower: type1 takes mmap_lock for writing for every physically contiguous
 * run that it pins (vfio_lock_acct()), waits for each worker's step of populating, and keeps the
 * workers from their next one meanwhile.
 */

enum piece_state {
	PIECE_EMPTY,
	PIECE_POPULATED,
	PIECE_MAPPED,
};

struct piece {
	struct vfb_task task;
	struct piece *next;
	struct map_job *owner;
	struct entry *entry;
	uint64_t offset, bytes;
	int node;
	enum piece_state state;
};

/* What becomes of one range. */
struct entry {
	struct vfb_range *range;
	struct piece *pieces;
	size_t piece_count;
	uint64_t piece_bytes;
	int error;
	/* Its IOVAs are taken in the index. */
	bool placed;
	/* Map calls that succeeded, and pieces that they mapped. */
	unsigned int calls;
	size_t mapped;
};

struct map_job {
	struct vfb_job job;
	struct vfb_space *space;
	size_t count;
	/* Pieces on their way at once. */
	unsigned int width;
	bool best_effort;
	/* The kernel maps one range after another. */
	bool serial;
	struct entry *entries;
	struct piece *pieces;

	struct vfb_domain_waiter waiter;
	/* For serial maps: maps all ranges, once, after everything is populated. */
	struct vfb_task map_ranges;
	bool ranges_submitted;

	pthread_mutex_t lock;
	unsigned int on_their_way;
	/* Pieces to be submitted; and those that are populated and wait for the gate. */
	struct piece *todo, *waiting;
	/* The domain is there, and the entries are placed. */
	bool gate_open;
};

/* Sets off a job whose entries and pieces are filled in. */
void vfb_pipeline_start(struct map_job *map);

/*
 * Everything is populated that will be: true when the job may be finished, false when serial maps
 * have been submitted first.
 */
bool vfb_pipeline_is_done(struct map_job *map);

/* What a piece's task runs. */
void vfb_pipeline_run_piece(struct vfb_task *task);

#endif
