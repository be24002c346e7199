/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "config.h"

#define MAX_GROUPS 256

/* The process at the other end of a connection, as the kernel says. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	size_t group_count;
	/* -1: it has ended. */
	int pidfd;
	char cgroup[256];
};

/* False: it has ended, or cannot be identified. */
bool peer_read(int socket, struct peer *peer);

/* Root, and the user that the daemon runs as, may do everything. */
bool peer_is_admin(const struct peer *peer);

/* Whether it may take slots of the class, and see them. */
bool peer_may_take(const struct peer *peer, const struct slot_class *class);

#endif
