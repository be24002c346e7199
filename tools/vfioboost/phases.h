/* SPDX-License-Identifier: MIT */
#ifndef PHASES_H
#define PHASES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <vfioboost.h>

#define PHASE_COUNT (VFB_PHASE_CLOSE + 1)

/* When something of a phase was going on. */
struct interval {
	uint64_t begin, end;
};

struct intervals {
	struct interval *all;
	size_t count, capacity;
};

/* What a subscriber hears, phase by phase. */
struct phases {
	pthread_mutex_t lock;
	struct intervals phases[PHASE_COUNT];
	bool out_of_memory;
};

void phases_init(struct phases *phases);
void phases_free(struct phases *phases);

/* A vfb_event_fn; @data is a struct phases. */
void phases_note(const struct vfb_event *event, void *data);

/* Seconds during which at least one step of the phase was going on, overlaps counted once. */
double phases_seconds(struct phases *phases, enum vfb_phase phase);

/* Steps of the phase. */
size_t phases_count(const struct phases *phases, enum vfb_phase phase);

#endif
