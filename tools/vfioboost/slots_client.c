/* SPDX-License-Identifier: MIT */
#include "slots_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../daemon/packet.h"
#include "command.h"

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length)) {
		if (peer.uid == 0 || peer.uid == geteuid())
			return fd;
		errno = EPERM;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

int slots_connect(const char *path)
{
	const char *use = path ? path : VFB_WIRE_SOCKET;
	int fd = connect_to(use);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		fprintf(stderr,
			"vfioboost: no vfioboostd listens at %s: start it (systemctl start "
			"vfioboostd), or give its --socket\n",
			use);
	else if (errno == EPERM)
		fprintf(stderr,
			"vfioboost: another user than root or this one listens at %s: it is not "
			"trusted\n",
			use);
	else
		fprintf(stderr, "vfioboost: cannot connect to %s: %s%s\n", use, strerror(errno),
			errno == EACCES ? " (see --group in vfioboostd(8))" : "");
	return -1;
}

bool slots_send(int fd, enum vfb_wire_type type, const char *name, int64_t amount, uint64_t wait_ns)
{
	union vfb_wire message;
	int error;

	memset(&message, 0, sizeof(message));
	if (strlen(name) >= sizeof(message.request.name)) {
		fprintf(stderr, "vfioboost: \"%s\" is too long for the name of a class\n", name);
		return false;
	}
	strcpy(message.request.name, name);
	message.request.amount = amount;
	message.request.wait_ns = wait_ns;
	error = packet_send(fd, &message, type, NULL, 0);
	if (error)
		fprintf(stderr, "vfioboost: cannot ask vfioboostd: %s\n", strerror(-error));
	return !error;
}

bool slots_receive(int fd, union vfb_wire *message, int *fds, size_t *count)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	size_t room = *count;
	int result;

	do {
		*count = room;
		while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
			;
		result = packet_receive(fd, message, fds, count);
	} while (result == -EAGAIN);
	if (result <= 0) {
		fprintf(stderr, "vfioboost: %s\n",
			result ? "vfioboostd sent an invalid answer" :
				 "vfioboostd has closed the connection");
		return false;
	}
	if (message->header.type == VFB_WIRE_FAILED)
		fprintf(stderr, "vfioboost: %s\n", message->result.text);
	return message->header.type != VFB_WIRE_FAILED;
}

int slots_request(const char *path, enum vfb_wire_type type, const char *name, int64_t amount,
		  void (*each)(const union vfb_wire *message, void *arg), void *arg)
{
	int fd = slots_connect(path), status = EXIT_FAILED;
	union vfb_wire message;
	size_t no_fds = 0;

	if (fd < 0)
		return EXIT_FAILED;
	if (slots_send(fd, type, name, amount, 0))
		while (slots_receive(fd, &message, NULL, &no_fds)) {
			if (message.header.type != VFB_WIRE_DONE) {
				if (each)
					each(&message, arg);
				continue;
			}
			status = message.result.error ? EXIT_FAILED : EXIT_OK;
			if (message.result.error)
				fprintf(stderr, "vfioboost: %s\n", message.result.text);
			break;
		}
	close(fd);
	return status;
}
