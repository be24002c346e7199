/* SPDX-License-Identifier: MIT */
/*
 * sd_notify(3) and sd_listen_fds(3), of which so little is needed that libsystemd is not. Files of
 * slot NUMBER are called vfb-NUMBER-state, vfb-NUMBER-tenant, vfb-NUMBER-0, vfb-NUMBER-1, ...
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3
#define MAX_FDS	 16384

static int notify_socket(struct sockaddr_un *address, socklen_t *length)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path || strlen(path) >= sizeof(address->sun_path) || !strchr("/@", path[0]))
		return -1;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, path, strlen(path));
	if (path[0] == '@')
		address->sun_path[0] = '\0';
	*length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static void notify_with(const char *text, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = ""};
	struct iovec part = {(char *)text, strlen(text)};
	struct sockaddr_un address;
	struct msghdr message = {.msg_name = &address, .msg_iov = &part, .msg_iovlen = 1};
	int socket = notify_socket(&address, &message.msg_namelen);

	if (socket < 0)
		return;
	if (fd >= 0) {
		message.msg_control = control.room;
		message.msg_controllen = sizeof(control.room);
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(fd)),
		};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof(fd));
	}
	sendmsg(socket, &message, MSG_NOSIGNAL);
	close(socket);
}

void store_notify(const char *state)
{
	notify_with(state, -1);
}

static void remove_name(uint64_t number, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=vfb-%" PRIu64 "-%s", number, what);
	notify_with(text, -1);
}

/* Without FDPOLL=0 systemd drops files that report an error or the end. */
static void store_fd(uint64_t number, const char *what, int fd)
{
	char text[128];

	remove_name(number, what);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=vfb-%" PRIu64 "-%s", number,
		 what);
	notify_with(text, fd);
}

static bool write_state(struct pool *pool, const struct slot *slot, int fd)
{
	union vfb_wire status, grant;
	char both[2 * VFB_WIRE_BYTES];
	size_t first, second;

	memset(&status, 0, sizeof(status));
	memset(&grant, 0, sizeof(grant));
	pool_describe(pool, slot, &status.status);
	grant.grant = slot->grant;
	first = vfb_wire_finish(&status, VFB_WIRE_STATUS);
	second = vfb_wire_finish(&grant, VFB_WIRE_GRANT);
	memcpy(both, &status, first);
	memcpy(both + first, &grant, second);
	return pwrite(fd, both, first + second, 0) == (ssize_t)(first + second);
}

void store_slot(struct pool *pool, const struct slot *slot, int *state, int tenant)
{
	bool is_new = *state < 0;
	char what[32];

	if (!getenv("NOTIFY_SOCKET"))
		return;
	if (is_new)
		*state = memfd_create("vfioboost-slot-state", MFD_CLOEXEC);
	if (tenant >= 0)
		store_fd(slot->number, "tenant", tenant);
	if (*state < 0 || !write_state(pool, slot, *state) || !is_new)
		return;
	for (size_t i = 0; i < slot->fd_count; i++) {
		snprintf(what, sizeof(what), "%zu", i);
		store_fd(slot->number, what, slot->fds[i]);
	}
	/* At last: without it a slot is not restored. */
	store_fd(slot->number, "state", *state);
}

void store_forget(const struct slot *slot, int *state)
{
	char what[32];

	if (*state < 0)
		return;
	remove_name(slot->number, "state");
	remove_name(slot->number, "tenant");
	for (size_t i = 0; i < slot->fd_count; i++) {
		snprintf(what, sizeof(what), "%zu", i);
		remove_name(slot->number, what);
	}
	close(*state);
	*state = -1;
}

/* ---- What this process was started with ---- */

struct passed {
	char name[64];
	int fd;
};

static struct passed *passed;
static size_t passed_count;

/* Once: who this process starts must not believe the same. */
static void read_passed(void)
{
	const char *count_text = getenv("LISTEN_FDS"), *pid_text = getenv("LISTEN_PID");
	const char *names = getenv("LISTEN_FDNAMES");
	size_t count = count_text ? strtoul(count_text, NULL, 10) : 0;

	if (passed || !count || count > MAX_FDS || !pid_text || atoi(pid_text) != getpid())
		return;
	passed = calloc(count, sizeof(*passed));
	for (size_t i = 0; passed && i < count; i++) {
		size_t length = names ? strcspn(names, ":") : 0;

		passed[i].fd = FIRST_FD + i;
		fcntl(passed[i].fd, F_SETFD, FD_CLOEXEC);
		if (names)
			snprintf(passed[i].name, sizeof(passed[i].name), "%.*s", (int)length,
				 names);
		names = names && names[length] ? names + length + 1 : NULL;
		passed_count++;
	}
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
}

/* Takes it: nobody else closes it. */
static int take_passed(uint64_t number, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "vfb-%" PRIu64 "-%s", number, what);
	for (size_t i = 0; i < passed_count; i++)
		if (passed[i].fd >= 0 && !strcmp(passed[i].name, name)) {
			int fd = passed[i].fd;

			passed[i].fd = -1;
			return fd;
		}
	return -1;
}

static bool read_state(int fd, struct stored *stored)
{
	char packet[VFB_WIRE_BYTES];
	union vfb_wire message;
	ssize_t bytes = pread(fd, packet, sizeof(struct vfb_wire_status), 0);

	if (bytes < 0 || vfb_wire_parse(packet, bytes, &message) ||
	    message.header.type != VFB_WIRE_STATUS)
		return false;
	stored->status = message.status;
	bytes = pread(fd, packet, sizeof(struct vfb_wire_grant), bytes);
	if (bytes < 0 || vfb_wire_parse(packet, bytes, &message) ||
	    message.header.type != VFB_WIRE_GRANT)
		return false;
	stored->grant = message.grant;
	return true;
}

static void close_stored(struct stored *stored)
{
	while (stored->count)
		close(stored->fds[--stored->count]);
	if (stored->tenant >= 0)
		close(stored->tenant);
	close(stored->state);
}

static void restore_one(uint64_t number, void (*each)(const struct stored *stored, void *arg),
			void *arg)
{
	struct stored stored = {.state = take_passed(number, "state")};
	bool known = read_state(stored.state, &stored);
	char what[32];

	stored.tenant = take_passed(number, "tenant");
	for (; stored.count < VFB_WIRE_FDS; stored.count++) {
		snprintf(what, sizeof(what), "%zu", stored.count);
		stored.fds[stored.count] = take_passed(number, what);
		if (stored.fds[stored.count] < 0)
			break;
	}
	if (known && stored.count == vfb_wire_fd_count(&stored.grant))
		each(&stored, arg);
	else
		close_stored(&stored);
}

void store_drop(const struct stored *stored)
{
	const char *number = strrchr(stored->status.slot, '-');
	struct slot slot = {.fd_count = stored->count};
	struct stored closed = *stored;

	slot.number = number ? strtoull(number + 1, NULL, 10) : 0;
	store_forget(&slot, &closed.state);
	while (closed.count)
		close(closed.fds[--closed.count]);
	if (closed.tenant >= 0)
		close(closed.tenant);
}

void store_restore(void (*each)(const struct stored *stored, void *arg), void *arg)
{
	read_passed();
	for (size_t i = 0; i < passed_count; i++) {
		uint64_t number;
		int end = 0;

		if (passed[i].fd >= 0 &&
		    sscanf(passed[i].name, "vfb-%" SCNu64 "-state%n", &number, &end) == 1 && end)
			restore_one(number, each, arg);
	}
	/* The rest of slots whose state was not stored completely. */
	for (size_t i = 0; i < passed_count; i++)
		if (passed[i].fd >= 0 && !strncmp(passed[i].name, "vfb-", 4)) {
			char text[128];

			snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", passed[i].name);
			notify_with(text, -1);
			close(passed[i].fd);
			passed[i].fd = -1;
		}
}

int store_socket(void)
{
	read_passed();
	for (size_t i = 0; i < passed_count; i++) {
		int listens = 0, fd = passed[i].fd;
		socklen_t length = sizeof(listens);

		if (fd >= 0 && strncmp(passed[i].name, "vfb-", 4) &&
		    !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) && listens) {
			passed[i].fd = -1;
			return fd;
		}
	}
	return -1;
}
