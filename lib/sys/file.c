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

/* Calls @each with every whole line in @text; *@rest gets what follows the last one. */
static bool each_whole_line(char *text, char **rest, bool (*each)(const char *line, void *arg),
			    void *arg)
{
	char *line, *end;

	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (!each(line, arg))
			return false;
	}
	*rest = line;
	return true;
}

int vfb_sys_each_line(const struct vfb_sys *sys, const char *path,
		      bool (*each)(const char *line, void *arg), void *arg)
{
	/* A path in /proc/PID/maps has up to 4 KiB. */
	char text[8192], *rest;
	size_t held = 0;
	ssize_t length;
	off_t at = 0;
	int fd = sys->open(sys, path, O_RDONLY);

	if (fd < 0)
		return fd;
	while ((length = sys->pread(sys, fd, text + held, sizeof(text) - held - 1, at)) > 0) {
		at += length;
		text[held + length] = '\0';
		if (!each_whole_line(text, &rest, each, arg))
			break;
		held = strlen(rest);
		if (held == sizeof(text) - 1) {
			length = -EFBIG;
			break;
		}
		/* The next part completes the line. */
		memmove(text, rest, held);
	}
	sys->close(sys, fd);
	return length < 0 ? (int)length : 0;
}
