/* SPDX-License-Identifier: MIT */
#ifndef SLOT_MODEL_H
#define SLOT_MODEL_H

#include "../../tools/daemon/pool.h"
#include "host.h"

/*
 * Slots over a host that is made up. What must hold is checked after each step: nothing that was
 * handed out is handed out again, every file is released exactly once, and a place is filled only
 * when its last slot is gone.
 */
#define FILES  100000
#define SECOND UINT64_C(1000000000)

enum file_state {
	FILE_UNUSED,
	FILE_KEPT,
	FILE_HANDED_OUT,
	FILE_RELEASED,
};

struct model {
	struct pool_host ops;
	struct pool pool;
	uint64_t now;
	enum file_state files[FILES];
	int next_file;
	/* Fails the call with this number; 0: none. */
	unsigned int fail_call, calls;
	/* Of slots that are not gone. */
	unsigned int held;
	pid_t heir;
	/* Nobody holds a slot that was not taken by the process itself. */
	bool dropped;
	unsigned int fills, stops, pauses, stores;
};

/* Of which model_open() makes slots: two without and two with a device. */
extern const struct slot_class two_classes[2];

void model_open(struct model *model);
/* Drains all, ends all tenants: nothing may be left. */
void model_close(struct model *model);

void make_grant(struct model *model, const struct slot *slot, struct vfb_wire_grant *grant,
		int *fds);
void fill_slot(struct model *model, struct slot *slot);
struct slot *take_slot(struct model *model, struct pool_class *class, uid_t uid, int *error);
/* The slot in that state after so many others; NULL: there are no more. */
struct slot *find_state(struct model *model, enum vfb_wire_state state, unsigned int skip);
unsigned int count_state(struct model *model, enum vfb_wire_state state);
/* Lets everything that is under way come to its end. */
void settle(struct model *model);

#endif
