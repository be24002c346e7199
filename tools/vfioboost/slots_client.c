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
#include "clock.h"
#include "command.h"

/* How long another daemon may take to answer, beyond the time to wait; and between two requests. */
#define ANSWER_S 5
#define AGAIN_US 100000

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

static void print_unconnected(const char *use, int error)
{
	if (error == ENOENT || error == ECONNREFUSED)
		fprintf(stderr,
			"vfioboost: no vfioboostd listens at %s: start it (systemctl start "
			"vfioboostd), or give its --socket\n",
			use);
	else if (error == EPERM)
		fprintf(stderr,
			"vfioboost: another user than root or this one listens at %s: it is not "
			"trusted\n",
			use);
	else
		fprintf(stderr, "vfioboost: cannot connect to %s: %s%s\n", use, strerror(error),
			error == EACCES ? " (see --group in vfioboostd(8))" : "");
}

static const char *path_of(const char *path)
{
	return path ? path : VFB_WIRE_SOCKET;
}

static bool is_name(const char *name)
{
	if (strlen(name) < VFB_WIRE_NAME)
		return true;
	fprintf(stderr, "vfioboost: \"%s\" is too long for the name of a class\n", name);
	return false;
}

static int send_request(int fd, enum vfb_wire_type type, const char *name, int64_t amount,
			uint64_t wait_ns)
{
	union vfb_wire message;

	memset(&message, 0, sizeof(message));
	strcpy(message.request.name, name);
	message.request.amount = amount;
	message.request.wait_ns = wait_ns;
	return packet_send(fd, &message, type, NULL, 0);
}

/* -ECONNRESET: the daemon has closed the connection, or does not run any more. */
static int receive(int fd, union vfb_wire *message, int *fds, size_t *count)
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
	if (result <= 0)
		return result ? result : -ECONNRESET;
	return 0;
}

static bool is_lost(int error)
{
	return error == -ECONNRESET || error == -EPIPE;
}

static void print_unanswered(int error)
{
	fprintf(stderr, "vfioboost: %s\n",
		is_lost(error) ? "vfioboostd has closed the connection" :
				 "vfioboostd sent an invalid answer");
}

/* Calls @each with every message before the last one. */
static int receive_all(int fd, void (*each)(const union vfb_wire *message, void *arg), void *arg)
{
	union vfb_wire message;
	size_t no_fds = 0;
	int error;

	while (!(error = receive(fd, &message, NULL, &no_fds))) {
		if (message.header.type == VFB_WIRE_FAILED ||
		    (message.header.type == VFB_WIRE_DONE && message.result.error)) {
			fprintf(stderr, "vfioboost: %s\n", message.result.text);
			return EXIT_FAILED;
		}
		if (message.header.type == VFB_WIRE_DONE)
			return EXIT_OK;
		if (each)
			each(&message, arg);
	}
	print_unanswered(error);
	return EXIT_FAILED;
}

int slots_request(const char *path, enum vfb_wire_type type, const char *name, int64_t amount,
		  void (*each)(const union vfb_wire *message, void *arg), void *arg)
{
	int fd, error, status = EXIT_FAILED;

	if (!is_name(name))
		return EXIT_FAILED;
	fd = connect_to(path_of(path));
	if (fd < 0) {
		print_unconnected(path_of(path), errno);
		return EXIT_FAILED;
	}
	error = send_request(fd, type, name, amount, 0);
	if (error)
		fprintf(stderr, "vfioboost: cannot ask vfioboostd: %s\n", strerror(-error));
	else
		status = receive_all(fd, each, arg);
	close(fd);
	return status;
}

/* ---- Taking ---- */

static int ask_once(int fd, const char *name, uint64_t wait_ns, union vfb_wire *answer, int *fds)
{
	size_t count = VFB_WIRE_FDS;
	int error = send_request(fd, VFB_WIRE_TAKE, name, 0, wait_ns);

	if (!error)
		error = receive(fd, answer, fds, &count);
	if (error || (answer->header.type == VFB_WIRE_FAILED && !count))
		return error;
	if (answer->header.type != VFB_WIRE_GRANT || count != vfb_wire_fd_count(&answer->grant))
		return -EPROTO;
	/* If the daemon has ended since, the next one sees that this process has the memory. */
	send_request(fd, VFB_WIRE_ARRIVED, answer->grant.slot, 0, 0);
	return 0;
}

/* If the daemon that was asked has ended, asks the next one, which may take a moment to start. */
static int ask_again(const char *path, const char *name, uint64_t wait_ns, union vfb_wire *answer,
		     int *fds)
{
	double end = clock_seconds() + (double)wait_ns / 1e9;
	bool was_lost = false;

	for (;;) {
		double left = end - clock_seconds();
		int fd = connect_to(path), error = fd < 0 ? -errno : 0;

		if (fd >= 0) {
			error = ask_once(fd, name, left > 0 ? (uint64_t)(left * 1e9) : 0, answer,
					 fds);
			close(fd);
		}
		was_lost = is_lost(error) ||
			   (was_lost && (error == -ECONNREFUSED || error == -ENOENT));
		if (!was_lost || left + ANSWER_S <= 0) {
			if (fd < 0)
				print_unconnected(path, -error);
			else if (error)
				print_unanswered(error);
			return error;
		}
		usleep(AGAIN_US);
	}
}

bool slots_take_files(const char *path, const char *name, uint64_t wait_ns,
		      struct vfb_wire_grant *grant, int *fds)
{
	union vfb_wire answer;

	if (!is_name(name) || ask_again(path_of(path), name, wait_ns, &answer, fds))
		return false;
	if (answer.header.type == VFB_WIRE_FAILED) {
		fprintf(stderr, "vfioboost: %s\n", answer.result.text);
		return false;
	}
	*grant = answer.grant;
	return true;
}
