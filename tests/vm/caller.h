/* SPDX-License-Identifier: MIT */
/* Somebody who uses VFIO without the library, and gives it what he has opened. */
#ifndef CALLER_H
#define CALLER_H

#include "scenario.h"

/* What he maps, and where. */
#define CALLER_BYTES (4 * MIB)
#define CALLER_IOVA  (8 * GIB)

struct caller {
	/* A container or an iommufd; -1 for what is not open. */
	int space, device, group;
	/* The device's address. */
	const char *address;
	/* The IOAS that the library is given, and the actual one: groups of an iommufd need none.
	 */
	uint32_t ioas, own_ioas;
	void *memory;
};

/* Opens the n-th device: with its node, unbound, or its group; and what it is to be attached to. */
void caller_open(struct fixture *f, struct caller *caller, size_t n);
/* Binds it. With a group, that is all that attaching does. */
void caller_bind(struct fixture *f, struct caller *caller);
/* Binds and attaches it. */
void caller_attach(struct fixture *f, struct caller *caller);
/* Both, and opens the device if that is not done. */
void caller_open_device(struct fixture *f, struct caller *caller, size_t n);
/* With a group. */
void caller_get_device(struct caller *caller);
void caller_close(struct caller *caller);

void caller_map(struct fixture *f, struct caller *caller);
/* It must still be there. */
void caller_unmap(struct fixture *f, struct caller *caller);

#endif
