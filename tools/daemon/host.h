/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_HOST_H
#define DAEMON_HOST_H

#include "pool.h"
#include "watch.h"

/* What the pool wants from the system, on Linux. */
struct host {
	struct pool_host ops;
	struct pool *pool;
	/* The program that fills slots. */
	const char *filler;
};

/* Of a slot, behind its data. */
struct host_slot {
	struct host *host;
	struct slot *slot;
	/* The socket to the process that fills it, and its pidfd: its number may be another's once
	 * it has been reaped. */
	struct watch filler;
	int filler_process;
	/* The pidfd of the tenant. */
	struct watch tenant;
	/* An eventfd: its files are closed. */
	struct watch release;
	/* The file of its memory. */
	dev_t device;
	ino_t inode;
	/* Of the tenant. */
	char cgroup[256];
	/* See store_slot(). */
	int state;
	/* When it was last looked whether it is gone. */
	uint64_t checked_ns;
};

void host_init(struct host *host, struct pool *pool, const char *filler);
void host_free(struct host *host);

/* Prepares the data of each slot of the pool. False: out of memory. */
bool host_prepare(struct host *host);

/* Watches the process that takes a slot; @pidfd becomes the host's. */
bool host_watch_tenant(struct slot *slot, int pidfd, const char *cgroup);

/* Puts slots back that an earlier daemon has left: files of the service manager, and cgroups. */
void host_restore(struct host *host);

/* Children that have ended. */
void host_reap(void);

#endif
