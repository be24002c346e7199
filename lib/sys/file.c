/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

struct lines {
	bool (*each)(const char *line, void *arg);
	void *arg;
	/* The line so far; of one that is longer the rest is left out. */
	char line[8192];
	size_t length;
};

/* False: no more lines are wanted. */
static bool end_line(struct lines *lines)
{
	lines->line[lines->length] = '\0';
	lines->length = 0;
	return lines->each(lines->line, lines->arg);
}

static bool add_text(struct lines *lines, const char *text, size_t bytes)
{
	const char *end = text + bytes;

	while (text < end) {
		const char *newline = memchr(text, '\n', end - text);
		size_t length = (newline ? newline : end) - text;
		size_t room = sizeof(lines->line) - 1 - lines->length;

		memcpy(lines->line + lines->length, text, length < room ? length : room);
		lines->length += length < room ? length : room;
		if (!newline)
			return true;
		if (!end_line(lines))
			return false;
		text = newline + 1;
	}
	return true;
}

int vfb_sys_each_line(const struct vfb_sys *sys, const char *path,
		      bool (*each)(const char *line, void *arg), void *arg)
{
	struct lines lines;
	bool more = true;
	char text[4096];
	ssize_t length = 0;
	off_t at = 0;
	int fd = sys->open(sys, path, O_RDONLY);

	if (fd < 0)
		return fd;
	/* The rest of it is large, and need not be zero. */
	lines.each = each;
	lines.arg = arg;
	lines.length = 0;
	/* One call gives a part only: of many files of proc no more than a page. */
	while (more && (length = sys->pread(sys, fd, text, sizeof(text), at)) > 0) {
		at += length;
		more = add_text(&lines, text, length);
	}
	sys->close(sys, fd);
	if (length < 0)
		return length;
	if (more && lines.length)
		end_line(&lines);
	return 0;
}

struct fields {
	struct vfb_field *fields;
	size_t count, found;
};

static bool find_field(const char *line, void *arg)
{
	struct fields *fields = arg;
	int node = 0;

	/* As the meminfo of a node begins its lines. */
	if (!strncmp(line, "Node ", 5))
		sscanf(line, "Node %*u %n", &node);
	line += node;
	for (size_t i = 0; i < fields->count; i++) {
		struct vfb_field *field = &fields->fields[i];
		size_t length = strlen(field->name);

		if (field->found || strncmp(line, field->name, length) || line[length] != ':')
			continue;
		field->found = true;
		field->value = strtoull(line + length + 1, NULL, field->base);
		fields->found++;
	}
	return fields->found < fields->count;
}

int vfb_sys_read_fields(const struct vfb_sys *sys, const char *path, struct vfb_field *fields,
			size_t count)
{
	struct fields search = {fields, count, 0};
	int error = vfb_sys_each_line(sys, path, find_field, &search);

	if (error)
		return error;
	return search.found < count ? -ENODATA : 0;
}
