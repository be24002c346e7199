/* SPDX-License-Identifier: MIT */
/* Local sockets of the running kernel. */
#include "sys/linux_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/passed_fds.h"

#define UNUSED __attribute__((unused))
/* SCM_MAX_FD of the kernel: no packet has more. */
#define MAX_FDS 253

int vfb_linux_connect(UNUSED const struct vfb_sys *sys, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd, error = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		error = -errno;
	else if (peer.uid != 0 && peer.uid != geteuid())
		error = -EPERM;
	if (error)
		close(fd);
	return error ? error : fd;
}

ssize_t vfb_linux_send(UNUSED const struct vfb_sys *sys, int fd, const void *buf, size_t bytes)
{
	ssize_t done;

	do
		done = send(fd, buf, bytes, MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : done;
}

static int wait_readable(const struct vfb_sys *sys, int fd, uint64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ready;

	do {
		uint64_t now = sys->now(sys), left = deadline_ns > now ? deadline_ns - now : 0;
		int ms = -1;

		if (deadline_ns != UINT64_MAX)
			ms = left / 1000000 < INT32_MAX ? (int)((left + 999999) / 1000000) :
							  INT32_MAX;
		ready = poll(&poll_fd, 1, ms);
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	return ready ? 0 : -ETIMEDOUT;
}

ssize_t vfb_linux_receive(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, int *fds,
			  size_t *count, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec part = {buf, bytes};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	int error = wait_readable(sys, fd, deadline_ns);
	ssize_t done;

	if (error) {
		*count = 0;
		return error;
	}
	do
		done = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (done < 0 && errno == EINTR);
	if (done <= 0) {
		*count = 0;
		return done ? -errno : -ECONNRESET;
	}
	if (vfb_take_passed_fds(&message, fds, count))
		return done;
	while (*count)
		close(fds[--*count]);
	return -EMSGSIZE;
}
