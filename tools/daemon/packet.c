/* SPDX-License-Identifier: MIT */
#include "packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/passed_fds.h"

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(VFB_WIRE_FDS * sizeof(int))];
};

int packet_send(int socket, union vfb_wire *message, enum vfb_wire_type type, const int *fds,
		size_t count)
{
	union control control = {.room = ""};
	struct iovec part = {message, vfb_wire_finish(message, type)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *rights;

	if (count) {
		header.msg_control = control.room;
		header.msg_controllen = CMSG_SPACE(count * sizeof(*fds));
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(count * sizeof(*fds));
		memcpy(CMSG_DATA(rights), fds, count * sizeof(*fds));
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int packet_receive(int socket, union vfb_wire *message, int *fds, size_t *count)
{
	char packet[VFB_WIRE_BYTES];
	union control control;
	struct iovec part = {packet, sizeof(packet)};
	/* Without room the kernel closes all that comes. */
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = *count ? control.room : NULL,
		.msg_controllen = *count ? sizeof(control.room) : 0,
	};
	ssize_t bytes = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int error;

	if (bytes <= 0) {
		*count = 0;
		return bytes ? -errno : 0;
	}
	error = vfb_take_passed_fds(&header, fds, count) ? vfb_wire_parse(packet, bytes, message) :
							   -EPROTO;
	if (error) {
		packet_close(fds, *count);
		*count = 0;
		return error;
	}
	return 1;
}

void packet_close(int *fds, size_t count)
{
	while (count)
		close(fds[--count]);
}
