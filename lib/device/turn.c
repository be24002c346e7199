/* SPDX-License-Identifier: MIT */
#include "device/turn.h"

#include <string.h>

void vfb_turns_init(struct vfb_turns *turns, const struct vfb_sys *sys)
{
	turns->sys = sys;
	turns->first = NULL;
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->changed, NULL);
}

void vfb_turns_destroy(struct vfb_turns *turns)
{
	pthread_cond_destroy(&turns->changed);
	pthread_mutex_destroy(&turns->lock);
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
