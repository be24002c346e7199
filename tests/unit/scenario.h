/* SPDX-License-Identifier: MIT */
/*
 * The start and the stop of a guest: two memories of different kinds, three devices, two of them
 * below one bridge, ranges with fixed and with chosen IOVAs, regions, a subscriber. For the tests
 * that make each step of it fail.
 */
#ifndef TEST_SCENARIO_H
#define TEST_SCENARIO_H

#include "host.h"

struct scenario {
	enum vfb_backend backend;
	/* iommufd opens devices by their groups. */
	bool by_group;
	/* Devices open while memory is mapped; and close while it is unmapped. */
	bool overlapped;
	bool best_effort;
	/* As vfb_batch_opts.width. */
	unsigned int width;
};

/* "type1, overlapped". */
const char *scenario_name(const struct scenario *scenario);

/* The machine that it runs on. */
struct fake *scenario_machine(const struct scenario *scenario);

/*
 * Runs it as a program would that gives up after the first failure and destroys what it has. All
 * that the interface promises of a call that fails is asserted here. Returns the first failure.
 */
int scenario_run(struct fake *fake, const struct scenario *scenario);

#endif
