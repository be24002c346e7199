/* SPDX-License-Identifier: MIT */
/*
 * The start and the stop of a guest: two memories of different kinds, three devices, two of them
 * below one bridge, ranges with fixed and with chosen IOVAs, regions, a subscriber. For the tests
 * that make each step of it fail.
 */
#ifndef TEST_GUEST_RUN_H
#define TEST_GUEST_RUN_H

#include "host.h"

struct guest_variant {
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
const char *guest_variant_name(const struct guest_variant *variant);

/* The machine that it runs on. */
struct fake *guest_machine(const struct guest_variant *variant);

/*
 * Runs it as a program would that gives up after the first failure and destroys what it has. All
 * that the interface promises of a call that fails is asserted here. Returns the first failure.
 */
int guest_run(struct fake *fake, const struct guest_variant *variant);

#endif
