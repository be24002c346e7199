/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"

/* Linux 6.5 */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/*
 * Older kernels have the number only, which may be another process's once that one has ended: but
 * then the connection, which it has not given to anybody, has ended too.
 */
static int open_pidfd(int socket, pid_t pid)
{
	socklen_t length = sizeof(int);
	int pidfd;

	if (!getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length))
		return pidfd;
	return syscall(SYS_pidfd_open, pid, 0);
}

static bool has_ended(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) != 0;
}

bool peer_read(int socket, struct peer *peer)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);

	*peer = (struct peer){.pidfd = -1};
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return false;
	peer->pid = cred.pid;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	length = sizeof(peer->groups);
	if (!getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &length))
		peer->group_count = length / sizeof(peer->groups[0]);
	peer->pidfd = open_pidfd(socket, peer->pid);
	if (peer->pidfd < 0)
		return false;
	/* Read before it is known that the number was still its own. */
	cgroup_of(peer->pid, peer->cgroup, sizeof(peer->cgroup));
	if (!has_ended(peer->pidfd))
		return true;
	close(peer->pidfd);
	peer->pidfd = -1;
	return false;
}

bool peer_is_admin(const struct peer *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

static bool is_in_group(const struct peer *peer, gid_t gid)
{
	for (size_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == gid)
			return true;
	return peer->gid == gid;
}

static bool is_below(const char *cgroup, const char *path)
{
	size_t length = strlen(path);

	if (!strcmp(path, "/"))
		return cgroup[0] == '/';
	return !strncmp(cgroup, path, length) && (cgroup[length] == '/' || !cgroup[length]);
}

static bool is_allowed(const struct peer *peer, const struct allow *allow)
{
	switch (allow->kind) {
	case ALLOW_USER:
		return peer->uid == allow->id;
	case ALLOW_GROUP:
		return is_in_group(peer, allow->id);
	default:
		return is_below(peer->cgroup, allow->path);
	}
}

bool peer_may_take(const struct peer *peer, const struct slot_class *class)
{
	for (size_t i = 0; i < class->allow_count; i++)
		if (is_allowed(peer, &class->allow[i]))
			return true;
	return peer_is_admin(peer);
}
