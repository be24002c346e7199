/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/sys.h"

#define ROOT "/sys/fs/cgroup"

struct own {
	char *path;
	size_t bytes;
	int error;
};

static bool note_own(const char *line, void *arg)
{
	struct own *own = arg;

	if (strncmp(line, "0::/", 4))
		return true;
	own->error = (size_t)snprintf(own->path, own->bytes, ROOT "%s", line[4] ? line + 3 : "") <
				     own->bytes ?
			     0 :
			     -ENAMETOOLONG;
	return false;
}

/* The process's cgroup of version 2, as its mount shows it, into @path. */
static int own_cgroup(const struct vfb_sys *sys, char *path, size_t bytes)
{
	struct own own = {path, bytes, -ENOENT};
	int error = vfb_sys_each_line(sys, "/proc/self/cgroup", note_own, &own);

	return error ? error : own.error;
}

int vfb_sys_cgroup(const struct vfb_sys *sys, const char *file,
		   void (*each)(const char *path, uint64_t limit, uint64_t period, void *arg),
		   void *arg)
{
	char folder[4096], path[4224], text[64], *end;
	int error = own_cgroup(sys, folder, sizeof(folder));

	if (error)
		return error;
	for (;;) {
		snprintf(path, sizeof(path), "%s/%s", folder, file);
		if (vfb_sys_read_file(sys, path, text, sizeof(text)) > 0 &&
		    strncmp(text, "max", 3)) {
			uint64_t limit = strtoull(text, &end, 10);

			each(path, limit, strtoull(end, NULL, 10), arg);
		}
		if (!strcmp(folder, ROOT))
			return 0;
		*strrchr(folder, '/') = '\0';
	}
}
