/* SPDX-License-Identifier: MIT */
#ifndef VFB_PIPELINE_H
#define VFB_PIPELINE_H

#include "dma/plan.h"
#include "dma/space.h"
#include "engine/job.h"

/*
 * Mapping a batch of ranges. Neighbours are populated together, as a run, in pieces: a worker of
 * its node populates a piece, and what is populated is mapped as soon as there is a domain. Where
 * the kernel maps in parallel, the worker maps the piece it has populated.
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

/* What is mapped of one entry in one piece. */
struct part {
	struct entry *entry;
	/* From the entry's beginning. */
	uint64_t offset, bytes;
	bool mapped;
	/* It begins a mapping of the kernel. */
	bool begins;
};

/* A piece of a run. */
struct piece {
	struct vfb_task task;
	struct piece *next;
	struct map_job *owner;
	struct run *run;
	/* From the run's beginning. */
	uint64_t offset, bytes;
	int node;
	bool populated;
	size_t first_part, part_count;
};

/* What becomes of one range. */
struct entry {
	struct vfb_range *range;
	struct run *run;
	size_t first_part, part_count, mapped_parts;
	int error;
	/* Its IOVAs are taken in the index. */
	bool placed;
	/* It shares a mapping of the kernel with the entry that follows. */
	bool joined;
};

/* Neighbours: entries, parts and pieces in the order of their IOVAs. */
struct run {
	struct vfb_memory *memory;
	/* In the memory. */
	uint64_t offset, bytes;
	/* Where pieces end: so far from the beginning, and then every so often. */
	uint64_t head, piece_bytes;
	size_t first_entry, entry_count;
	size_t first_piece, piece_count;
	size_t first_part, part_count;
};

/* Runs that are gone about together. */
struct wave {
	size_t first_run, run_count;
	bool background;
};

enum gate {
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
	/* Entries in the order of the plan. */
	size_t count;
	/* Pieces on their way at once. */
	unsigned int width;
	bool best_effort;
	/* The kernel maps one range after another. */
	bool serial;
	/* Neighbours become one mapping. */
	bool joined;
	struct entry *entries;
	struct run *runs;
	size_t run_count;
	struct piece *pieces;
	struct part *parts;
	struct wave *waves;
	size_t wave_count, wave;
	/* Entries from here on are not decided yet; the space's lock guards it. */
	size_t undecided;
	/* They may be translated by whoever has waited for one. */
	bool shows;

	struct vfb_domain_waiter waiter;
	/* For serial maps: maps a wave after everything in it is populated. */
	struct vfb_task map_wave;
	bool wave_mapped;

	pthread_mutex_t lock;
	unsigned int on_their_way;
	/* Pieces to be submitted; and those that are populated and wait for the gate. */
	struct piece *todo, **todo_end, *waiting;
	enum gate gate;
	/* Of each range of the caller's: -EINPROGRESS until it is mapped or decided. */
	int *statuses;
};

/* Fills in what follows from the plan. -ENOMEM, told; what there is, is to be freed then, too. */
int vfb_pipeline_cut(struct map_job *map, unsigned int width);
void vfb_pipeline_free_cut(struct map_job *map);

/* Sets off a job whose entries and pieces are filled in. */
void vfb_pipeline_start(struct map_job *map);

/* What vfb_job_wait_entry() tells of an entry. */
void vfb_pipeline_set_status(struct map_job *map, const struct entry *entry, int status);

/* What a piece's task runs. */
void vfb_pipeline_run_piece(struct vfb_task *task);

/* What is populated by now is to be mapped: false when there is nothing to be done for that. */
bool vfb_pipeline_map_wave(struct map_job *map);

/* Goes on to the next wave. */
void vfb_pipeline_next_wave(struct map_job *map);

/* A domain has come after all, for what was to be kept: maps it. With the space's lock held. */
int vfb_pipeline_open_late(struct map_job *map);
void vfb_pipeline_map_late(struct map_job *map);

/* A run's entries and parts are next to each other; the runs of a wave, too. */
static inline size_t vfb_wave_entry_end(const struct map_job *map, size_t wave)
{
	const struct wave *last = &map->waves[wave];
	const struct run *run;

	if (!last->run_count)
		return 0;
	run = &map->runs[last->first_run + last->run_count - 1];
	return run->first_entry + run->entry_count;
}

#endif
