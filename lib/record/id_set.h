/* SPDX-License-Identifier: MIT */
#ifndef VFB_ID_SET_H
#define VFB_ID_SET_H

#include <stddef.h>
#include <stdint.h>

/* A set of numbers other than 0: a hash table of which at most half is used. All zero is empty. */
struct vfb_id_set {
	uint64_t *ids;
	size_t count, room;
};

/* 1: it was added; 0: it was there; -ENOMEM, without a text. */
int vfb_id_set_add(struct vfb_id_set *set, uint64_t id);
void vfb_id_set_free(struct vfb_id_set *set);

#endif
