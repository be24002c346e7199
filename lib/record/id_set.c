/* SPDX-License-Identifier: MIT */
#include "record/id_set.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 16

/* Where the ID is, or belongs: there is always an empty place. */
static uint64_t *id_place(uint64_t *ids, size_t room, uint64_t id)
{
	/* 2^64 divided by the golden ratio: IDs that follow one another are spread. */
	size_t at = (id * UINT64_C(0x9e3779b97f4a7c15)) >> 32;

	while (ids[at & (room - 1)] && ids[at & (room - 1)] != id)
		at++;
	return &ids[at & (room - 1)];
}

static int id_set_grow(struct vfb_id_set *set)
{
	size_t room = set->room ? 2 * set->room : FIRST_ROOM;
	uint64_t *ids = calloc(room, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < set->room; i++)
		if (set->ids[i])
			*id_place(ids, room, set->ids[i]) = set->ids[i];
	free(set->ids);
	set->ids = ids;
	set->room = room;
	return 0;
}

int vfb_id_set_add(struct vfb_id_set *set, uint64_t id)
{
	if (set->room && *id_place(set->ids, set->room, id))
		return 0;
	if (2 * set->count >= set->room && id_set_grow(set))
		return -ENOMEM;
	*id_place(set->ids, set->room, id) = id;
	set->count++;
	return 1;
}

void vfb_id_set_free(struct vfb_id_set *set)
{
	free(set->ids);
	*set = (struct vfb_id_set){0};
}
