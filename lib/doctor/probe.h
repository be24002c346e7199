/* SPDX-License-Identifier: MIT */
#ifndef VFB_PROBE_H
#define VFB_PROBE_H

#include "doctor/doctor.h"

#define VFB_MAX_SAMPLES 8

/* Equal pieces of memory like the guest's, populated to measure the time. */
struct vfb_samples {
	struct vfb_memory *memory[VFB_MAX_SAMPLES];
	unsigned int count;
	uint64_t bytes;
	enum vfb_page_size page_size;
	/* Size of the guest divided by that of a sample. */
	double factor;
};

/* The median of the times, multiplied by @factor; bounds are the shortest and the longest. */
struct vfb_estimated_time vfb_scale(const double *seconds, unsigned int count, double factor);

/*
 * Opens the guest's devices, maps the samples for them, unmaps and closes, and stores the times in
 * the estimate. A failure becomes a finding.
 */
int vfb_probe(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples);

#endif
