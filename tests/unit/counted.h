/* SPDX-License-Identifier: MIT */
/* A table of system calls before another one, which counts how often the time is asked for. */
#ifndef TEST_COUNTED_H
#define TEST_COUNTED_H

#include <stdatomic.h>

#include "sys/sys.h"

struct counted {
	struct vfb_sys sys;
	const struct vfb_sys *inner;
	atomic_uint now, current_cpu, current_thread;
};

void counted_init(struct counted *counted, const struct vfb_sys *inner);

#endif
