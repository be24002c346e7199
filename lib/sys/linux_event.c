/* SPDX-License-Identifier: MIT */
/* eventfds, and waiting for a file. */
#include "sys/linux_event.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

int vfb_linux_eventfd(UNUSED const struct vfb_sys *sys)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void vfb_linux_eventfd_signal(UNUSED const struct vfb_sys *sys, int fd)
{
	/* Fails only when the counter is full, and then it is readable as it should be. */
	eventfd_write(fd, 1);
}

int vfb_linux_wait_readable(UNUSED const struct vfb_sys *sys, int fd, int stop)
{
	struct pollfd files[] = {{.fd = fd, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
	int ready;

	do
		ready = ppoll(files, 2, NULL, NULL);
	while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	if (files[1].revents)
		return -ECANCELED;
	return files[0].revents & POLLIN ? 0 : -EBADF;
}

ssize_t vfb_linux_read(UNUSED const struct vfb_sys *sys, int fd, void *buf, size_t bytes)
{
	ssize_t done = read(fd, buf, bytes);

	return done < 0 ? -errno : done;
}
