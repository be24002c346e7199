/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "pool.h"

/*
 * The service manager keeps the files of slots while the daemon does not run (systemd: the file
 * descriptor store, FileDescriptorStoreMax=; without systemd: vfioboostd --keep). A slot is stored
 * as its files, and a memfd with its struct vfb_wire_status and struct vfb_wire_grant.
 */

/* "READY=1" and the like; nothing without a service manager. */
void store_notify(const char *state);

/*
 * Stores a slot in the state that it has now. @state: its memfd, which is written in place, so that
 * there is always one; made if it is -1. @tenant: the pidfd, -1.
 */
void store_slot(struct pool *pool, const struct slot *slot, int *state, int tenant);
void store_forget(const struct slot *slot, int *state);

struct stored {
	struct vfb_wire_status status;
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];
	size_t count;
	int state;
	/* -1: none. */
	int tenant;
};

/* Calls @each with each slot that was passed to this process; its files become @each's. */
void store_restore(void (*each)(const struct stored *stored, void *arg), void *arg);

/*
 * Closes the files of a slot whose class is not configured any more, and forgets it. Its tenant
 * keeps its own.
 */
void store_drop(const struct stored *stored);

/* The listening socket that was passed; -1: none. */
int store_socket(void);

#endif
