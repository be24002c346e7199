/* SPDX-License-Identifier: MIT */
/*
 * The part of a service manager that the daemon needs, see store.h: messages "FDSTORE=1" with a
 * file, and "FDSTOREREMOVE=1", at the socket $NOTIFY_SOCKET; files passed as in sd_listen_fds(3).
 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_KEPT 8192
#define FIRST_FD 3
/* Between a crash and the next start. */
#define RESTART_MS 100

static struct {
	struct {
		char name[64];
		int fd;
	} kept[MAX_KEPT];
	size_t count;
	int socket, signals;
	pid_t child;
	struct sockaddr_un address;
} keeper;

static void forget_name(const char *name)
{
	for (size_t i = keeper.count; i-- > 0;)
		if (!strcmp(keeper.kept[i].name, name)) {
			close(keeper.kept[i].fd);
			keeper.kept[i] = keeper.kept[--keeper.count];
		}
}

static void read_name(const char *text, char name[64])
{
	const char *found = strstr(text, "FDNAME=");

	snprintf(name, 64, "%.*s", found ? (int)strcspn(found + 7, "\n") : 0,
		 found ? found + 7 : "");
}

/* Only the daemon knows the socket, which has no name in the file system; its peer is checked. */
static void read_message(void)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char text[256], name[64];
	struct iovec part = {text, sizeof(text) - 1};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	ssize_t bytes = recvmsg(keeper.socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct ucred sender = {.pid = 0};
	int fd = -1;

	if (bytes < 0)
		return;
	text[bytes] = '\0';
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		else if (c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
	}
	read_name(text, name);
	if (sender.uid == geteuid() && strstr(text, "FDSTOREREMOVE=1"))
		forget_name(name);
	else if (sender.uid == geteuid() && fd >= 0 && keeper.count < MAX_KEPT) {
		snprintf(keeper.kept[keeper.count].name, 64, "%s", name);
		keeper.kept[keeper.count++].fd = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static bool make_socket(void)
{
	socklen_t length = sizeof(keeper.address);
	int yes = 1;

	keeper.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	keeper.address.sun_family = AF_UNIX;
	/* Without a name the kernel chooses an abstract one, unix_autobind(). */
	if (keeper.socket < 0 ||
	    bind(keeper.socket, (struct sockaddr *)&keeper.address, sizeof(sa_family_t)) ||
	    getsockname(keeper.socket, (struct sockaddr *)&keeper.address, &length) ||
	    setsockopt(keeper.socket, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)))
		return false;
	keeper.address.sun_path[length - offsetof(struct sockaddr_un, sun_path)] = '\0';
	return true;
}

/* In the child: the kept files become 3, 4, ... and are named in the environment. */
static void pass_files(void)
{
	char path[120], number[24];
	char *names = calloc(keeper.count + 1, 65);
	size_t used = 0;

	for (size_t i = 0; i < keeper.count; i++)
		keeper.kept[i].fd = fcntl(keeper.kept[i].fd, F_DUPFD_CLOEXEC,
					  FIRST_FD + (int)keeper.count);
	for (size_t i = 0; i < keeper.count && names; i++) {
		dup2(keeper.kept[i].fd, FIRST_FD + (int)i);
		used += sprintf(names + used, i ? ":%s" : "%s", keeper.kept[i].name);
	}
	close_range(FIRST_FD + keeper.count, ~0U, 0);
	snprintf(path, sizeof(path), "@%s", keeper.address.sun_path + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	if (!keeper.count || !names)
		return;
	snprintf(number, sizeof(number), "%zu", keeper.count);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	free(names);
}

/* True in the child. */
static bool start_child(void)
{
	pid_t self = getpid();
	sigset_t none;

	keeper.child = fork();
	if (keeper.child)
		return false;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != self)
		_exit(1);
	pass_files();
	return true;
}

/* Whether the child has ended by itself, or was asked to. */
static bool has_child_ended(bool *crashed)
{
	int status;

	if (waitpid(keeper.child, &status, WNOHANG) != keeper.child)
		return false;
	*crashed = !WIFEXITED(status);
	return true;
}

static void read_signal(void)
{
	struct signalfd_siginfo info;

	if (read(keeper.signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGCHLD)
		kill(keeper.child, info.ssi_signo);
}

/* True in a new child. */
static bool keep_files(void)
{
	struct pollfd fds[] = {{keeper.socket, POLLIN, 0}, {keeper.signals, POLLIN, 0}};
	bool crashed = false;

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return false;
		/* All that it has stored before it ended. */
		if (fds[0].revents)
			read_message();
		else if (fds[1].revents)
			read_signal();
		if (fds[0].revents || !has_child_ended(&crashed))
			continue;
		if (!crashed)
			return false;
		poll(NULL, 0, RESTART_MS);
		if (start_child())
			return true;
	}
}

bool keeper_run(int socket)
{
	sigset_t signals;

	strcpy(keeper.kept[0].name, "listen");
	keeper.kept[0].fd = socket;
	keeper.count = 1;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	keeper.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (keeper.signals < 0 || !make_socket()) {
		perror("vfioboostd: cannot keep files");
		return false;
	}
	if (start_child())
		return true;
	return keep_files();
}
