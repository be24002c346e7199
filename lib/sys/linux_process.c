/* SPDX-License-Identifier: MIT */
/* Processes of the running kernel. */
#include "sys/linux_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED	 __attribute__((unused))
#define FIRST_FD 3

int vfb_linux_pipe(UNUSED const struct vfb_sys *sys, int ends[2])
{
	return pipe2(ends, O_CLOEXEC) ? -errno : 0;
}

/* Writes to a pipe that nobody reads fail with EPIPE; its signal is blocked meanwhile, and taken
 * back. */
ssize_t vfb_linux_write(UNUSED const struct vfb_sys *sys, int fd, const void *buf, size_t bytes)
{
	const struct timespec at_once = {0};
	sigset_t broken, before;
	ssize_t done;
	int error;

	sigemptyset(&broken);
	sigaddset(&broken, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &broken, &before);
	do
		done = write(fd, buf, bytes);
	while (done < 0 && errno == EINTR);
	error = errno;
	if (done < 0 && error == EPIPE && !sigismember(&before, SIGPIPE))
		sigtimedwait(&broken, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return done < 0 ? -error : done;
}

/* All signals as at the start of a process: the caller may be a thread that blocks them. */
static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
}

static int add_actions(posix_spawn_file_actions_t *actions, const int *fds, size_t count)
{
	int error = 0;

	for (size_t i = 0; i < count && !error; i++)
		error = posix_spawn_file_actions_adddup2(actions, fds[i], FIRST_FD + i);
	return error ? error : posix_spawn_file_actions_addclosefrom_np(actions, FIRST_FD + count);
}

/* @copies lie beyond all descriptors that the program is to have, so none is overwritten. */
static int start(const char *program, char *const *argv, const int *copies, size_t count,
		 int *process)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int error;

	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	error = posix_spawnattr_init(&attr);
	if (!error) {
		error = set_attributes(&attr);
		if (!error)
			error = add_actions(&actions, copies, count);
		if (!error)
			error = posix_spawn(process, program, &actions, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

int vfb_linux_spawn(UNUSED const struct vfb_sys *sys, const char *program, char *const *argv,
		    const int *fds, size_t count, int *process)
{
	int *copies = calloc(count, sizeof(*copies));
	size_t copied = 0;
	int error = 0;

	if (!copies)
		return -ENOMEM;
	while (copied < count && !error) {
		copies[copied] = fcntl(fds[copied], F_DUPFD_CLOEXEC, FIRST_FD + (int)count);
		if (copies[copied] < 0)
			error = errno;
		else
			copied++;
	}
	if (!error)
		error = start(program, argv, copies, count, process);
	while (copied)
		close(copies[--copied]);
	free(copies);
	return -error;
}

void vfb_linux_wait_process(UNUSED const struct vfb_sys *sys, int process)
{
	while (waitpid(process, NULL, 0) < 0 && errno == EINTR)
		;
}

int vfb_linux_process_id(UNUSED const struct vfb_sys *sys)
{
	return getpid();
}
