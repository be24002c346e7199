/* SPDX-License-Identifier: MIT */
#include "sys/passed_fds.h"

#include <string.h>
#include <unistd.h>

bool vfb_take_passed_fds(struct msghdr *message, int *fds, size_t *count)
{
	size_t room = *count;
	bool fit = !(message->msg_flags & (MSG_TRUNC | MSG_CTRUNC));

	*count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t given = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < given; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (*count < room) {
				fds[(*count)++] = fd;
			} else {
				close(fd);
				fit = false;
			}
		}
	}
	return fit;
}
