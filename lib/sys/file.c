/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sys/sys.h"

ssize_t vfb_sys_read_file(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes)
{
	int fd = sys->open(sys, path, O_RDONLY);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = sys->pread(sys, fd, buf, bytes, 0);
	sys->close(sys, fd);
	if (length < 0)
		return length;
	if ((size_t)length == bytes)
		return -EFBIG;
	if (length && buf[length - 1] == '\n')
		length--;
	buf[length] = '\0';
	return length;
}

int vfb_sys_write_file(const struct vfb_sys *sys, const char *path, const char *text)
{
	int fd = sys->open(sys, path, O_WRONLY);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = sys->pwrite(sys, fd, text, strlen(text), 0);
	sys->close(sys, fd);
	return length < 0 ? (int)length : 0;
}
