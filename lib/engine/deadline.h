/* SPDX-License-Identifier: MIT */
#ifndef VFB_DEADLINE_H
#define VFB_DEADLINE_H

#include "sys/sys.h"

/* A thread that calls functions at their deadlines. It starts with the first deadline. */
struct vfb_deadlines;

/* Embedded in the object that has the deadline; zero until one is set. */
struct vfb_deadline {
	struct vfb_deadlines *set;
	struct vfb_deadline *next;
	uint64_t at_ns;
	void (*expire)(struct vfb_deadline *deadline);
};

int vfb_deadlines_create(const struct vfb_sys *sys, struct vfb_deadlines **out);
/* No deadline may be set. */
void vfb_deadlines_destroy(struct vfb_deadlines *deadlines);

/* Starts the thread now that the first deadline would start. */
int vfb_deadlines_start(struct vfb_deadlines *deadlines);

/* Calls @expire once, @timeout_ns from now. On failure nothing is set. */
int vfb_deadline_set(struct vfb_deadlines *deadlines, struct vfb_deadline *deadline,
		     uint64_t timeout_ns, void (*expire)(struct vfb_deadline *deadline));

/* Afterwards @expire is neither called nor running. The deadline need not be set. */
void vfb_deadline_forget(struct vfb_deadline *deadline);

#endif
