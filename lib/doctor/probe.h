/* SPDX-License-Identifier: MIT */
#ifndef VFB_PROBE_H
#define VFB_PROBE_H

#include "doctor/doctor.h"

#define VFB_MAX_SAMPLES 8

/* Parts of memory like the guest's, alike, that were populated to see how long it takes. */
struct vfb_samples {
	struct vfb_memory *memory[VFB_MAX_SAMPLES];
	unsigned int count;
	uint64_t bytes;
	enum vfb_page_size page_size;
	/* How much larger the guest is than one of them. */
	double factor;
};

/* The median of the times times @factor, between the shortest and the longest. */
struct vfb_estimated_time vfb_scale(const double *seconds, unsigned int count, double factor);

/*
 * Opens the guest's devices, maps the samples for them, unmaps and closes, and puts the times into
 * the estimate. What the kernel refuses becomes a finding.
 */
int vfb_probe(struct vfb_diagnosis *diagnosis, const struct vfb_samples *samples);

#endif
