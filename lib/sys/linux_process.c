/* SPDX-License-Identifier: MIT */
/* Processes of the running kernel. */
#include "sys/linux_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED	 __attribute__((unused))
#define FIRST_FD 3
/* glibc 2.36 has a name for it. */
#define WAIT_PIDFD ((idtype_t)3)

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

/* @output first: it may be one of those that the others replace. */
static int add_actions(posix_spawn_file_actions_t *actions, int output, const int *fds,
		       size_t count)
{
	int error = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);

	if (!error)
		error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null",
							 O_RDONLY, 0);
	if (!error)
		error = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null",
							 O_WRONLY, 0);
	for (size_t i = 0; i < count && !error; i++)
		error = posix_spawn_file_actions_adddup2(actions, fds[i], FIRST_FD + i);
	return error ? error : posix_spawn_file_actions_addclosefrom_np(actions, FIRST_FD + count);
}

/* @copies lie beyond all descriptors that the program is to have, so none is overwritten. */
static int process_start(const char *program, char *const *argv, int output, const int *copies,
			 size_t count, pid_t *pid)
{
	static char *const no_environment[] = {NULL};
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
			error = add_actions(&actions, output, copies, count);
		if (!error)
			error = posix_spawn(pid, program, &actions, &attr, argv, no_environment);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

static int duplicate_and_start(const char *program, char *const *argv, int output, const int *fds,
			       size_t count, pid_t *pid)
{
	int *copies = calloc(count, sizeof(*copies));
	size_t copied = 0;
	int error = 0;

	if (!copies)
		return ENOMEM;
	while (copied < count && !error) {
		copies[copied] = fcntl(fds[copied], F_DUPFD_CLOEXEC, FIRST_FD + (int)count);
		if (copies[copied] < 0)
			error = errno;
		else
			copied++;
	}
	if (!error)
		error = process_start(program, argv, output, copies, count, pid);
	while (copied)
		close(copies[--copied]);
	free(copies);
	return error;
}

/* Waits for its end by a file descriptor, which never stands for another process, as a number may
 * do once the caller's own waitpid(-1) has reaped it. */
static void wait_pidfd(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	siginfo_t info;

	while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
		;
	/* It is a child if this process starts it, or is the subreaper of its descendants. */
	waitid(WAIT_PIDFD, pidfd, &info, WEXITED | WNOHANG);
}

/* The process that @pid, a child which has forked it and exits, has written to @output. */
static int open_forked(pid_t pid, int output)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), error = errno;
	pid_t forked;

	if (pidfd >= 0) {
		wait_pidfd(pidfd);
		close(pidfd);
	} else if (error != ESRCH) {
		waitpid(pid, NULL, 0);
		return -error;
	}
	if (read(output, &forked, sizeof(forked)) != sizeof(forked))
		return -ECHILD;
	pidfd = syscall(SYS_pidfd_open, forked, 0);
	return pidfd < 0 ? -errno : pidfd;
}

int vfb_linux_spawn(UNUSED const struct vfb_sys *sys, const char *program, char *const *argv,
		    const int *fds, size_t count, int *process)
{
	int output[2], error;
	pid_t pid;

	/* Not blocking: a process that another thread forks meanwhile keeps its other end. */
	if (pipe2(output, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	error = -duplicate_and_start(program, argv, output[1], fds, count, &pid);
	if (!error) {
		*process = open_forked(pid, output[0]);
		error = *process < 0 ? *process : 0;
	}
	close(output[0]);
	close(output[1]);
	return error;
}

void vfb_linux_wait_process(UNUSED const struct vfb_sys *sys, int process)
{
	wait_pidfd(process);
	close(process);
}

/*
 * A page that the kernel clears in the child of a fork, be it by fork(), _Fork() or clone(), and
 * that holds the id of the process, which each small map asks for: without a system call.
 */
static union {
	_Alignas(4096) char bytes[4096];
	atomic_int process;
} forgotten;

static bool forgets;

static void forget_on_fork(void)
{
	/* Fails before Linux 4.14, and where pages are larger. */
	forgets = !madvise(&forgotten, sizeof(forgotten), MADV_WIPEONFORK);
}

int vfb_linux_process_id(UNUSED const struct vfb_sys *sys)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int process;

	pthread_once(&once, forget_on_fork);
	process = atomic_load_explicit(&forgotten.process, memory_order_relaxed);
	if (process && forgets)
		return process;
	process = getpid();
	atomic_store_explicit(&forgotten.process, process, memory_order_relaxed);
	return process;
}
