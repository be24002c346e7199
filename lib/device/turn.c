/* SPDX-License-Identifier: MIT */
#include "device/turn.h"

#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

int vfb_turns_create(const struct vfb_sys *sys, struct vfb_turns **out)
{
	struct vfb_turns *turns = calloc(1, sizeof(*turns));

	if (!turns)
		return vfb_fail_memory();
	turns->sys = sys;
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->changed, NULL);
	*out = turns;
	return 0;
}

void vfb_turns_destroy(struct vfb_turns *turns)
{
	if (!turns)
		return;
	pthread_cond_destroy(&turns->changed);
	pthread_mutex_destroy(&turns->lock);
	free(turns);
}

static bool is_taken(const struct vfb_turns *turns, const char *bridge)
{
	for (const struct vfb_turn *other = turns->first; other; other = other->next)
		if (bridge[0] && !strcmp(other->bridge, bridge))
			return true;
	return false;
}

void vfb_turn_begin(struct vfb_turns *turns, struct vfb_turn *turn, const char *bridge)
{
	pthread_mutex_lock(&turns->lock);
	while (is_taken(turns, bridge))
		turns->sys->cond_wait(turns->sys, &turns->changed, &turns->lock, UINT64_MAX);
	turn->bridge = bridge;
	turn->next = turns->first;
	turns->first = turn;
	pthread_mutex_unlock(&turns->lock);
}

void vfb_turn_end(struct vfb_turns *turns, struct vfb_turn *turn)
{
	struct vfb_turn **link = &turns->first;

	pthread_mutex_lock(&turns->lock);
	while (*link != turn)
		link = &(*link)->next;
	*link = turn->next;
	turns->sys->cond_broadcast(turns->sys, &turns->changed);
	pthread_mutex_unlock(&turns->lock);
}
