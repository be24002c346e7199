/* SPDX-License-Identifier: MIT */
/* File descriptors that another process sends, more of them than are wanted. */
#include "sys/passed_fds.h"

#include <string.h>
#include <unistd.h>

#include "host.h"

#define SENT 3

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(SENT * sizeof(int))];
};

static void send_pipes(int socket, const char *text)
{
	union control control = {.room = ""};
	struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int ends[2], fds[SENT];

	assert_int_equal(pipe(ends), 0);
	for (size_t i = 0; i < SENT; i++)
		fds[i] = ends[1];
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(rights), fds, sizeof(fds));
	assert_true(sendmsg(socket, &message, 0) > 0);
	close(ends[0]);
	close(ends[1]);
}

/* With room for @room file descriptors and @bytes of the packet. */
static bool receive_pipes(int socket, size_t room, size_t bytes, size_t *count)
{
	union control control;
	char text[16];
	struct iovec part = {text, bytes};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	int fds[SENT];
	bool fit;

	assert_true(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) > 0);
	*count = room;
	fit = vfb_take_passed_fds(&message, fds, count);
	for (size_t i = 0; i < *count; i++)
		assert_int_equal(close(fds[i]), 0);
	return fit;
}

/* The lowest number that is free: greater than before if one was left open. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void test_passed(void **state)
{
	int sockets[2], before;
	size_t count;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
	before = next_fd();
	for (size_t room = 0; room <= SENT; room++) {
		send_pipes(sockets[0], "hello");
		assert_int_equal(receive_pipes(sockets[1], room, 16, &count), room == SENT);
		assert_int_equal(count, room);
		assert_int_equal(next_fd(), before);
	}
	/* A packet that is longer than its reader expects. */
	send_pipes(sockets[0], "hello");
	assert_false(receive_pipes(sockets[1], SENT, 2, &count));
	assert_int_equal(next_fd(), before);
	close(sockets[0]);
	close(sockets[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passed),
	};

	return cmocka_run_group_tests_name("passed fds", tests, NULL, NULL);
}
