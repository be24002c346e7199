/* SPDX-License-Identifier: MIT */
/* A kernel that is not to be believed: what it reports in structs is overwritten by the input. */
#ifndef FUZZ_LIAR_H
#define FUZZ_LIAR_H

#include <pthread.h>

#include "input.h"
#include "sys/sys.h"

struct liar {
	struct vfb_sys sys;
	const struct vfb_sys *inner;
	pthread_mutex_t lock;
	struct input input;
};

/* Begins to lie when it is given an input. */
void liar_init(struct liar *liar, const struct vfb_sys *inner, struct input input);

#endif
