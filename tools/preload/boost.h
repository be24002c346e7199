/* SPDX-License-Identifier: MIT */
#ifndef BOOST_H
#define BOOST_H

#include <vfioboost/memory.h>

#include "preload.h"

/* Making present what the command maps; what can't be is left to the kernel. */
struct boost {
	/* What is mapped: at an address, or of a file. */
	struct vfb_memory_adopt_opts range;

	/* Of boost.c. */
	struct preload_call call;
	sem_t ready;
	atomic_bool stop;
	bool started;
};

/* To be called before the command's own call, which may go on once this returns: what is left to
 * do is done beside it. @range is set, the rest is zero. */
void boost_begin(struct boost *boost);

/* To be called after it, however it ended. */
void boost_end(struct boost *boost);

#endif
