/* SPDX-License-Identifier: MIT */
#ifndef VFB_PIPELINE_H
#define VFB_PIPELINE_H

#include "dma/calls.h"
#include "dma/plan.h"

/*
 * Mapping a batch of ranges. Neighbours are populated together, in pieces: a worker of its node
 * populates a piece. Where the kernel maps in parallel, that worker then makes the map calls of
 * the piece, as soon as there is a domain.
 *
 * Where it does not (type1), each range is mapped by one call when all are populated. Mapping
 * earlier makes both slower: type1 takes mmap_lock for writing for every physically contiguous
 * run that it pins (vfio_lock_acct()), waits for each worker's step of populating, and keeps the
 * workers from their next one meanwhile.
 *
 * The work goes in waves. What is in the background is a wave of its own, after all others; and
 * where the kernel maps one range after another, every priority is one. When the last wave but
 * the background has ended, what it mapped stays, and the job is ready.
 */

/* What becomes of one range. */
struct map_entry {
	struct vfb_range *range;
	/* In the index once the entry has IOVAs. */
	struct vfb_mapping *mapping;
	bool placed;
	/* Calls that are still to be made for it. */
	size_t calls_left;
	int error;
};

enum map_piece_state {
	PIECE_TO_DO,
	PIECE_RUNNING,
	/* Its calls wait until it is decided whether there is a domain. */
	PIECE_POPULATED,
	PIECE_DONE,
};

/* What one worker populates. */
struct map_piece {
	struct vfb_task task;
	struct map_job *owner;
	struct vfb_memory *memory;
	uint64_t offset, bytes;
	int node;
	enum map_piece_state state;
	bool populated;
	/* The entries that it reaches into. */
	size_t first_entry, entry_count;
	/* Where the kernel maps in parallel. */
	size_t first_call, call_count;
};

/* Runs that are populated and mapped before others. */
struct map_wave {
	size_t first_run, run_count;
	bool background;
};

enum map_gate {
	/* It is not decided whether there is a domain. */
	GATE_CLOSED,
	/* There is none: ranges are populated, and kept for the first device. */
	GATE_KEEP,
	GATE_OPEN,
};

struct map_job {
	struct vfb_job job;
	struct vfb_space *space;
	struct vfb_range *ranges;
	struct vfb_plan plan;
	/* In the order of the plan, as many as it has ranges. */
	struct map_entry *entries;
	struct map_piece *pieces;
	struct map_wave *waves;
	size_t wave_count, wave;
	/* Made when it is known that there is a domain. */
	struct vfb_calls calls;
	/* Pieces that run at once. */
	unsigned int width;
	bool best_effort;
	/* The kernel maps one range after another. */
	bool serial;
	/* Neighbours become one extent. */
	bool joined;
	/* Runs from here on are not decided yet; the space's lock guards it. */
	size_t undecided;

	struct vfb_domain_waiter waiter;
	/* For serial maps: maps a wave after everything in it is populated. */
	struct vfb_task map_wave;
	bool wave_mapped;

	/* Guards what follows, the pieces' states and the entries' errors. */
	pthread_mutex_t lock;
	enum map_gate gate;
	unsigned int running;
	/* Pieces that may be submitted. */
	size_t next_piece, end_piece;
	/* Of each range of the caller's: -EINPROGRESS until it is mapped or decided. */
	int *statuses;
};

/* Cuts what is planned into pieces and waves. -ENOMEM; vfb_map_free_plan() frees what there is. */
int vfb_map_cut_pieces(struct map_job *map, unsigned int width);
/* Lists the calls: map->joined is known, and every entry without an error has IOVAs. -ENOMEM. */
int vfb_map_cut_calls(struct map_job *map);
void vfb_map_free_plan(struct map_job *map);

/* Starts a job that is cut. */
void vfb_pipeline_start(struct map_job *map);

/* What vfb_job_wait_entry() returns for an entry. */
void vfb_pipeline_set_status(struct map_job *map, const struct map_entry *entry, int status);

/* What a piece's task runs. */
void vfb_pipeline_run_piece(struct vfb_task *task);

/* Maps what is populated by now, one range after another: false when nothing is to be mapped. */
bool vfb_pipeline_map_wave(struct map_job *map);

/* Goes on to the next wave. */
void vfb_pipeline_next_wave(struct map_job *map);

/* A domain has come after all, for what was to be kept: maps it. */
int vfb_pipeline_open_late_locked(struct map_job *map);
void vfb_pipeline_map_late(struct map_job *map);

/* Where the runs of a wave end. */
static inline size_t vfb_map_wave_end(const struct map_job *map, size_t wave)
{
	return map->waves[wave].first_run + map->waves[wave].run_count;
}

#endif
