/* SPDX-License-Identifier: MIT */
#ifndef VFB_PIPELINE_H
#define VFB_PIPELINE_H

#include "dma/space.h"
#include "engine/job.h"

/*
 * Mapping a batch of ranges, each in pieces: a worker of its node populates a piece, and what is
 * populated is mapped as soon as there is a domain. Where the kernel maps in parallel, the worker
 * maps the piece it has populated. Where it does not, one worker at a time follows the frontier
 * of a range and maps the longest populated run, so that the others go on populating and no two
 * wait for the kernel's lock.
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
	/* For serial maps: the run of populated pieces that is next, and its place in the queue. */
	size_t frontier, populated_end;
	bool queued;
	struct entry *next;
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
	/* For serial maps, to map what was populated before the gate was open. */
	struct vfb_task catch_up;

	pthread_mutex_t lock;
	unsigned int on_their_way;
	/* Pieces to be submitted; and those that are populated and wait for the gate. */
	struct piece *todo, *waiting;
	/* The domain is there, and the entries are placed. */
	bool gate_open;
	/* So few mappings are left that every range must do with one. */
	bool whole_ranges;
	/* A worker is at work on the queue of serial maps. */
	bool mapping;
	struct entry *queue, **queue_tail;
};

/* Sets off a job whose entries and pieces are filled in. */
void vfb_pipeline_start(struct map_job *map);

/* What a piece's task runs. */
void vfb_pipeline_run_piece(struct vfb_task *task);

#endif
