/* SPDX-License-Identifier: MIT */
#ifndef BOOST_H
#define BOOST_H

#include <vfioboost/memory.h>

#include "preload.h"

/* For less than that the kernel makes pages sooner than a worker wakes up. */
#define BOOST_MIN_BYTES (UINT64_C(4) << 20)

/* Populating what the command maps; what cannot be populated is left to the kernel. */
struct boost {
	/* What is mapped: at an address, or of a file. */
	struct vfb_memory_adopt_opts range;

	/* Of boost.c. */
	struct preload_call call;
	sem_t ready;
	atomic_bool stop;
	bool started;
};

/* To be called before the command's own call, which may begin when this returns: the rest is done
 * beside it. @range is set, the rest is zero. */
void boost_begin(struct boost *boost);

/* To be called after it, however it ended. */
void boost_end(struct boost *boost);

#endif
