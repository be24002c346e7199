/* SPDX-License-Identifier: MIT */
#ifndef VFB_TURN_H
#define VFB_TURN_H

#include "sys/sys.h"

/*
 * Whose turn it is to be closed below each bridge: Linux 7.0 and later skips the reset of a device
 * when another below the same bridge is being reset (vfio_pci_core_disable()), whichever job or
 * thread closes that.
 */
struct vfb_turns {
	const struct vfb_sys *sys;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Those that have begun, one for a bridge. */
	struct vfb_turn *first;
};

struct vfb_turn {
	struct vfb_turn *next;
	const char *bridge;
};

int vfb_turns_create(const struct vfb_sys *sys, struct vfb_turns **out);
void vfb_turns_destroy(struct vfb_turns *turns);

/* Waits until no other has a turn at the bridge, which is "" on the root bus: nobody waits there.
 */
void vfb_turn_begin(struct vfb_turns *turns, struct vfb_turn *turn, const char *bridge);
void vfb_turn_end(struct vfb_turns *turns, struct vfb_turn *turn);

#endif
