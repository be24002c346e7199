/* SPDX-License-Identifier: MIT */
#ifndef VFB_PIPELINE_H
#define VFB_PIPELINE_H

#include "dma/calls.h"
#include "dma/plan.h"

/*
 * Mapping a batch of ranges. Adjacent ranges form a run, which is populated in pieces, each by a
 * worker of its node. If the kernel maps in parallel (iommufd), that worker then makes the map
 * calls of the piece, as soon as there is a domain.
 *
 * If the kernel serializes maps (type1), one worker makes the calls: of small pages while the
 * others populate, as soon as the pieces of a call are populated, for which such ranges are mapped
 * in parts; of all other memory when a wave is populated, since mapping it takes little.
 *
 * Work proceeds in waves. Background ranges are a wave of their own, after all others; with type1
 * each priority is a wave as well. When the last wave before the background has ended, its ranges
 * are kept and the job is ready.
 */

/* The state of one range. */
struct map_entry {
	struct vfb_range *range;
	/* In the index once the entry has IOVAs (placed). */
	struct vfb_mapping *mapping;
	bool placed;
	/* Number of calls still to be made for it. */
	size_t calls_left;
	int error;
};

enum map_piece_state {
	PIECE_TO_DO,
	PIECE_RUNNING,
	/* Its calls wait until it is known whether there is a domain. */
	PIECE_POPULATED,
	PIECE_DONE,
};

/* The part of a run that one worker populates. */
struct map_piece {
	struct vfb_task task;
	struct map_job *owner;
	struct vfb_memory *memory;
	uint64_t offset, bytes;
	int node;
	enum map_piece_state state;
	/* It is to be populated, and is. */
	bool needed, populated;
	/* The entries that it overlaps. */
	size_t first_entry, entry_count;
	/* The calls that it is part of: its own, if the kernel maps in parallel. */
	size_t first_call, call_count;
	/* No thread works on it any more, whether it is populated or not. */
	bool ended;
};

/* Runs that are populated and mapped before others. */
struct map_wave {
	size_t first_run, run_count;
	bool background;
};

enum map_gate {
	/* It is not known yet whether there is a domain. */
	GATE_CLOSED,
	/* There is no domain: ranges are populated, and kept for the first device. */
	GATE_KEEP,
	GATE_OPEN,
};

struct map_job {
	struct vfb_job job;
	struct vfb_space *space;
	struct vfb_range *ranges;
	struct vfb_plan plan;
	/* One per range, in the order of the plan. */
	struct map_entry *entries;
	struct map_piece *pieces;
	struct map_wave *waves;
	size_t wave_count, wave;
	/* Listed when there is a domain. */
	struct vfb_calls calls;
	/* Number of pieces that run in parallel. */
	unsigned int width;
	int priority;
	bool best_effort;
	/* The kernel serializes map calls. */
	bool serial;
	/* Adjacent ranges become one extent. */
	bool joined;
	/* Serial maps: ranges that have to be populated are mapped in parts. */
	bool in_parts;
	/* Runs from this one on are not decided. The space's lock guards it. */
	size_t undecided;

	struct vfb_domain_waiter waiter;
	/* Serial maps: makes the calls that are ready. */
	struct vfb_task mapper;

	/* Guards what follows, the states of pieces and the errors of entries. */
	pthread_mutex_t lock;
	enum map_gate gate;
	unsigned int running;
	/* Number of pieces that may be submitted. */
	size_t next_piece, end_piece;
	/* Serial maps: calls whose pieces have ended, in that order, and whether they are being
	 * made, and others populate meanwhile. */
	size_t *ready, ready_first, ready_end;
	bool mapping, behind;
	/* Status of each range of the caller: -EINPROGRESS until it is mapped or decided. */
	int *statuses;
};

/* Cuts a plan into pieces and waves. Returns 0 or -ENOMEM; vfb_map_free_plan() frees them. */
int vfb_map_cut_pieces(struct map_job *map, unsigned int width);
/* Lists the calls. map->joined must be set, and every entry without an error have IOVAs. Returns 0
 * or -ENOMEM. */
int vfb_map_cut_calls(struct map_job *map);
void vfb_map_free_plan(struct map_job *map);

/* Starts a job whose plan is cut. */
void vfb_pipeline_start(struct map_job *map);

/* What vfb_job_wait_entry() returns for an entry. */
void vfb_pipeline_set_status(struct map_job *map, const struct map_entry *entry, int status);

/* The function of a piece's task. */
void vfb_pipeline_run_piece(struct vfb_task *task);

/* Serial maps: makes the calls that are ready. Returns false if there are none. */
bool vfb_pipeline_map_ready(struct map_job *map);

/* Starts the next wave. */
void vfb_pipeline_next_wave(struct map_job *map);

/* Maps ranges that were to be kept, because a domain has appeared. */
int vfb_pipeline_open_late_locked(struct map_job *map);
void vfb_pipeline_map_late(struct map_job *map);

/* The end of the runs of a wave. */
static inline size_t vfb_map_wave_end(const struct map_job *map, size_t wave)
{
	return map->waves[wave].first_run + map->waves[wave].run_count;
}

#endif
