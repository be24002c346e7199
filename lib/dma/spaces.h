/* SPDX-License-Identifier: MIT */
/*
 * The spaces of a context. Memory can be mapped in several of them, and its pages must not be
 * returned while a device of any of them reaches the pages.
 */
#ifndef VFB_SPACES_H
#define VFB_SPACES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vfb_ctx;
struct vfb_space;

/* A part of the address space of the process, both ends inclusive. */
struct vfb_held {
	uint64_t first, last;
};

/* Addresses whose pages are being returned or restored: nobody may begin to map them. */
struct vfb_hold {
	struct vfb_hold *next;
	/* In order, without overlaps. */
	const struct vfb_held *parts;
	size_t count;
};

struct vfb_spaces {
	/* Guards all below; taken with the lock of a space held. */
	pthread_mutex_t lock;
	struct vfb_space *first;
	size_t count;
	struct vfb_hold *holds;
	atomic_uint hold_count;
};

int vfb_spaces_create(struct vfb_spaces **out);
/* NULL is allowed. */
void vfb_spaces_destroy(struct vfb_spaces *spaces);

void vfb_spaces_add(struct vfb_spaces *spaces, struct vfb_space *space);
void vfb_spaces_remove(struct vfb_spaces *spaces, struct vfb_space *space);

/* Lists all spaces, with a reference to each. The caller frees the array. Reports -ENOMEM. */
int vfb_spaces_list(struct vfb_spaces *spaces, struct vfb_space ***list, size_t *count);

/* False: a part of them is held already. */
bool vfb_spaces_hold(struct vfb_spaces *spaces, struct vfb_hold *hold);
void vfb_spaces_release(struct vfb_spaces *spaces, struct vfb_hold *hold);

/*
 * Whether a part of some addresses is held. To be called with the lock of a space held until the
 * mapping is in its index: either this function finds the hold, or its owner finds the mapping.
 */
bool vfb_spaces_is_held(struct vfb_spaces *spaces, const void *address, uint64_t bytes);

#endif
