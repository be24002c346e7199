/* SPDX-License-Identifier: MIT */
#include "dma/spaces.h"

#include <stdlib.h>

#include "dma/space.h"
#include "observe/error.h"

int vfb_spaces_create(struct vfb_spaces **out)
{
	struct vfb_spaces *spaces = calloc(1, sizeof(*spaces));

	if (!spaces)
		return vfb_fail_memory();
	pthread_mutex_init(&spaces->lock, NULL);
	*out = spaces;
	return 0;
}

void vfb_spaces_destroy(struct vfb_spaces *spaces)
{
	if (!spaces)
		return;
	pthread_mutex_destroy(&spaces->lock);
	free(spaces);
}

void vfb_spaces_add(struct vfb_spaces *spaces, struct vfb_space *space)
{
	pthread_mutex_lock(&spaces->lock);
	space->next = spaces->first;
	spaces->first = space;
	spaces->count++;
	pthread_mutex_unlock(&spaces->lock);
}

void vfb_spaces_remove(struct vfb_spaces *spaces, struct vfb_space *space)
{
	struct vfb_space **at = &spaces->first;

	pthread_mutex_lock(&spaces->lock);
	while (*at != space)
		at = &(*at)->next;
	*at = space->next;
	spaces->count--;
	pthread_mutex_unlock(&spaces->lock);
}

int vfb_spaces_list(struct vfb_spaces *spaces, struct vfb_space ***list, size_t *count)
{
	struct vfb_space *space;

	*count = 0;
	pthread_mutex_lock(&spaces->lock);
	*list = calloc(spaces->count + 1, sizeof(struct vfb_space *));
	for (space = spaces->first; space && *list; space = space->next) {
		vfb_space_ref(space);
		(*list)[(*count)++] = space;
	}
	pthread_mutex_unlock(&spaces->lock);
	return *list ? 0 : vfb_fail_memory();
}

/* The first part of a hold that ends at or after @address; its number is hold->count without one.
 */
static size_t find_part(const struct vfb_hold *hold, uint64_t address)
{
	size_t low = 0, high = hold->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (hold->parts[middle].last >= address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool is_held_locked(const struct vfb_spaces *spaces, const struct vfb_held *part)
{
	const struct vfb_hold *hold;

	for (hold = spaces->holds; hold; hold = hold->next) {
		size_t i = find_part(hold, part->first);

		if (i < hold->count && hold->parts[i].first <= part->last)
			return true;
	}
	return false;
}

bool vfb_spaces_hold(struct vfb_spaces *spaces, struct vfb_hold *hold)
{
	bool held = false;

	pthread_mutex_lock(&spaces->lock);
	for (size_t i = 0; spaces->holds && i < hold->count && !held; i++)
		held = is_held_locked(spaces, &hold->parts[i]);
	if (!held) {
		hold->next = spaces->holds;
		spaces->holds = hold;
		atomic_fetch_add(&spaces->hold_count, 1);
	}
	pthread_mutex_unlock(&spaces->lock);
	return !held;
}

void vfb_spaces_release(struct vfb_spaces *spaces, struct vfb_hold *hold)
{
	struct vfb_hold **at = &spaces->holds;

	pthread_mutex_lock(&spaces->lock);
	while (*at != hold)
		at = &(*at)->next;
	*at = hold->next;
	atomic_fetch_sub(&spaces->hold_count, 1);
	pthread_mutex_unlock(&spaces->lock);
}

bool vfb_spaces_is_held(struct vfb_spaces *spaces, const void *address, uint64_t bytes)
{
	const struct vfb_held part = {(uintptr_t)address, (uintptr_t)address + (bytes - 1)};
	bool held;

	if (!atomic_load(&spaces->hold_count))
		return false;
	pthread_mutex_lock(&spaces->lock);
	held = is_held_locked(spaces, &part);
	pthread_mutex_unlock(&spaces->lock);
	return held;
}
