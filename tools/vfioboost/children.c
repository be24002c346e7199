/* SPDX-License-Identifier: MIT */
#include "children.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

bool child_begin(struct child *children, unsigned int number,
		 int (*run)(void *data, unsigned int number, int fd), void *data)
{
	struct child *child = &children[number];
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	fflush(stdout);
	child->process = fork();
	if (child->process) {
		close(ends[1]);
		child->fd = ends[0];
		if (child->process < 0)
			close(ends[0]);
		return child->process > 0;
	}
	/* So that each child notices the end of this process. */
	for (unsigned int i = 0; i < number; i++)
		close(children[i].fd);
	close(ends[0]);
	_exit(run(data, number, ends[1]));
}

bool child_continue(const struct child *child)
{
	return send(child->fd, "", 1, MSG_NOSIGNAL) == 1;
}

bool child_wait(const struct child *child)
{
	return child_wait_turn(child->fd);
}

bool child_wait_turn(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1;
}

bool child_report(int fd)
{
	return write(fd, "", 1) == 1;
}

int child_end(const struct child *child)
{
	int status;

	close(child->fd);
	while (waitpid(child->process, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}
