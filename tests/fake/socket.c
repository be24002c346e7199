/* SPDX-License-Identifier: MIT */
/* Local sockets, and a daemon behind them that a test plays. */
#include <fcntl.h>
#include <unistd.h>

#include "model.h"

void fake_listen(struct fake *fake, fake_answer *answer, void *arg)
{
	pthread_mutex_lock(&fake->lock);
	fake->daemon.answer = answer;
	fake->daemon.arg = arg;
	pthread_mutex_unlock(&fake->lock);
}

static int op_connect(const struct vfb_sys *sys, const char *path)
{
	struct fake *fake = kernel_enter(sys);
	int result = fk_inject(fake, "connect", NULL, EACCES);

	if (!result && !fake->daemon.answer)
		result = -ECONNREFUSED;
	if (!result)
		result = fk_file_new(fake, FILE_PIPE, path, NULL, NULL);
	kernel_leave(fake);
	return result;
}

static ssize_t op_send(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	ssize_t result = fk_inject(fake, "sendmsg", NULL, EPIPE);

	(void)fd;
	if (bytes > sizeof(fake->daemon.request))
		abort();
	if (!result) {
		memcpy(fake->daemon.request, buf, bytes);
		fake->daemon.bytes = bytes;
		result = bytes;
	}
	kernel_leave(fake);
	return result;
}

/* As SCM_RIGHTS: a new number for the same file. */
static int duplicate(struct fake *fake, int fd)
{
	struct file *file = fk_file_get(fake, fd);
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (!file || copy < 0)
		abort();
	/* Only to make room for the number. */
	fk_file_install(fake, copy, FILE_PIPE, file->path, NULL);
	free(fake->files[copy]);
	fake->files[copy] = file;
	return copy;
}

static ssize_t op_receive(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, int *fds,
			  size_t *count, uint64_t deadline_ns)
{
	struct fake *fake = kernel_enter(sys);
	ssize_t result = fk_inject(fake, "recvmsg", NULL, ECONNRESET);

	(void)fd;
	(void)deadline_ns;
	if (result) {
		*count = 0;
	} else {
		result = fake->daemon.answer(fake->daemon.arg, fake->daemon.request,
					     fake->daemon.bytes, buf, bytes, fds, count);
		for (size_t i = 0; i < *count; i++)
			fds[i] = duplicate(fake, fds[i]);
	}
	kernel_leave(fake);
	return result;
}

void fk_socket_table(struct vfb_sys *sys)
{
	sys->connect = op_connect;
	sys->send = op_send;
	sys->receive = op_receive;
}
