/* SPDX-License-Identifier: MIT */
/* A guest on a host of any size, over the model of the kernel. */
#ifndef SCALE_GUEST_H
#define SCALE_GUEST_H

#include <vfioboost.h>

#include "fake.h"
#include "meter.h"

/* What a start and a stop consist of. */
enum scale_step {
	SCALE_CONTEXT,
	SCALE_MEMORY,
	SCALE_START,
	SCALE_STOP,
	SCALE_END,
	SCALE_STEPS,
};

struct scale_host {
	/* CPUs: a multiple of the nodes. Devices: each with its own group and bridge. */
	unsigned int cpus, nodes, devices;
	uint64_t bytes;
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	/* Populate before mapping, in two jobs. */
	bool populates_first;
	/* Zeroing by one thread, pinning, unmapping: nanoseconds for a GiB; a reset. 0: calls take
	 * no time, and what the library itself takes is measured. */
	uint64_t zero_ns, pin_ns, unmap_ns, reset_ns;
};

struct scale_result {
	/* What each step took. Memory: the most so far. */
	struct meter_counts steps[SCALE_STEPS];
	/* By the clock of the model; the devices were open, and all of the start. */
	uint64_t start_ns, open_ns, stop_ns;
};

/* NULL, or what has failed; vfb_last_error() says why. */
const char *scale_run(const struct scale_host *host, struct scale_result *result);

#endif
