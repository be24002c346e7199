/* SPDX-License-Identifier: MIT */
/*
 * vfioboost-reaper: closes the devices of a process that has ended, see vfioboost/reaper.h. It is
 * started by the library, never by hand:
 *
 *	vfioboost-reaper report|silent PROCESS SET@ADDRESS...
 *
 * It leaves that process, its parent, and writes its number to descriptor 1. Descriptor 3 is a pipe
 * that the process holds the other end of, 4 takes the report, the devices follow in the order of
 * the arguments. Devices of one set share a reset: they are closed one after another. A set is the
 * number of its first device.
 */
#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"

enum {
	PIPE = 3,
	REPORT,
	FIRST_DEVICE,
};

static struct reaper_arguments arguments;
static double begin;

static double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Each line with one call, so that those of several threads don't mix. */
static void report_line(const char *what, const char *address)
{
	if (arguments.reporting)
		dprintf(REPORT, "%s%s %.3f s\n", what, address, seconds_now() - begin);
}

static void *close_set(void *arg)
{
	size_t first = (uintptr_t)arg;

	for (size_t i = first; i < arguments.count; i++) {
		if (arguments.devices[i].set != first)
			continue;
		close(FIRST_DEVICE + i);
		report_line("released ", arguments.devices[i].address);
	}
	return NULL;
}

/*
 * A pidfd of the process, this one's parent; -1: it has ended already. Its number is its own as
 * long as it is the parent.
 */
static int open_process(pid_t process)
{
	int pidfd = syscall(SYS_pidfd_open, process, 0);

	if (pidfd < 0 && errno != ESRCH)
		exit(2);
	if (pidfd >= 0 && getppid() == process)
		return pidfd;
	if (pidfd >= 0)
		close(pidfd);
	return -1;
}

/* Goes on in a process that nobody waits for, whose number its parent's parent reads. */
static void leave_parent(void)
{
	pid_t child = fork();

	if (child < 0)
		exit(2);
	if (child > 0)
		_exit(write(STDOUT_FILENO, &child, sizeof(child)) == sizeof(child) ? 0 : 2);
}

/* To close devices nothing is needed that it may have had from who started it. */
static void drop_what_is_not_needed(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	/* All three are /dev/null then. */
	dup2(STDIN_FILENO, STDOUT_FILENO);
	if (chdir("/"))
		exit(2);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_capset, &header, none);
}

/*
 * Descriptors of a process are closed one by one when it ends, the pipe's perhaps before those of
 * devices: were a device closed here meanwhile, the process would wait for the reset after all.
 * Its pidfd is readable only when all are closed (do_exit(): exit_files(), then exit_notify()).
 * A process that runs another program closes the pipe too, and goes on. False: it wants its
 * devices for itself.
 */
static bool wait_for_end(int process)
{
	struct pollfd fds[] = {{.fd = process, .events = POLLIN}, {.fd = PIPE, .events = POLLIN}};
	char byte;

	while (process >= 0 && !fds[0].revents) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			exit(2);
		if (fds[1].revents && read(PIPE, &byte, 1) > 0)
			return false;
		if (fds[1].revents)
			fds[1].fd = -1;
	}
	return true;
}

static void close_all(void)
{
	static pthread_t threads[REAPER_MAX_DEVICES];
	size_t started = 0;

	for (size_t i = 0; i < arguments.count; i++)
		/* Without a thread it takes longer. */
		if (arguments.devices[i].set == i &&
		    pthread_create(&threads[started++], NULL, close_set, (void *)(uintptr_t)i)) {
			started--;
			close_set((void *)(uintptr_t)i);
		}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};
	int process;

	if (!reaper_parse(argc, argv, &arguments))
		return 2;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	process = open_process(arguments.process);
	leave_parent();
	drop_what_is_not_needed();
	if (!wait_for_end(process))
		return 0;
	begin = seconds_now();
	close_all();
	report_line("done", "");
	return 0;
}
