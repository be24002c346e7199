/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/sys.h"

#define ROOT "/sys/fs/cgroup"

/* Whether @controller is one of the names in "cpu,cpuacct". */
static bool names_controller(const char *names, size_t length, const char *controller)
{
	size_t wanted = strlen(controller);

	for (const char *at = names; at < names + length; at += strcspn(at, ",:") + 1)
		if (!strncmp(at, controller, wanted) && (at[wanted] == ',' || at[wanted] == ':'))
			return true;
	return false;
}

/* A line "3:memory:/vm.slice" of version 1, or "0::/vm.slice". */
static bool find_cgroup(const char *line, const char *controller, char *path, size_t bytes)
{
	const char *names = strchr(line, ':'), *folder = names ? strchr(names + 1, ':') : NULL;
	size_t length = folder ? folder - ++names : 0;

	if (!folder || folder[1] != '/')
		return false;
	folder += folder[2] ? 1 : 2;
	if (!controller && !length)
		snprintf(path, bytes, ROOT "%s", folder);
	else if (controller && names_controller(names, length, controller))
		snprintf(path, bytes, ROOT "/%.*s%s", (int)length, names, folder);
	else
		return false;
	return true;
}

struct own {
	const char *controller;
	char *path;
	size_t bytes;
	bool found;
};

static bool note_own(const char *line, void *arg)
{
	struct own *own = arg;

	own->found = find_cgroup(line, own->controller, own->path, own->bytes);
	return !own->found;
}

/* The process's cgroup as the mount shows it, into @path. @controller: of version 1, else NULL. */
static int own_cgroup(const struct vfb_sys *sys, const char *controller, char *path, size_t bytes)
{
	struct own own = {controller, path, bytes, false};
	int error = vfb_sys_each_line(sys, "/proc/self/cgroup", note_own, &own);

	return error ? error : own.found ? 0 : -ENOENT;
}

int vfb_sys_each_cgroup(const struct vfb_sys *sys, const char *controller,
			void (*each)(const char *folder, bool v1, void *arg), void *arg)
{
	char folder[4096];
	bool v1 = controller && !own_cgroup(sys, controller, folder, sizeof(folder));
	int error = v1 ? 0 : own_cgroup(sys, NULL, folder, sizeof(folder));

	if (error)
		return error;
	for (;;) {
		each(folder, v1, arg);
		if (strlen(folder) <= strlen(ROOT) ||
		    (v1 && !strchr(folder + strlen(ROOT) + 1, '/')))
			return 0;
		*strrchr(folder, '/') = '\0';
	}
}

struct limits {
	const struct vfb_sys *sys;
	const char *file;
	void (*each)(const char *path, uint64_t limit, uint64_t period, void *arg);
	void *arg;
};

static void read_limit(const char *folder, bool v1, void *arg)
{
	const struct limits *limits = arg;
	char path[4224], text[64], *end;
	uint64_t limit;

	(void)v1;
	snprintf(path, sizeof(path), "%s/%s", folder, limits->file);
	if (vfb_sys_read_file(limits->sys, path, text, sizeof(text)) <= 0 ||
	    !strncmp(text, "max", 3))
		return;
	limit = strtoull(text, &end, 10);
	limits->each(path, limit, strtoull(end, NULL, 10), limits->arg);
}

int vfb_sys_cgroup(const struct vfb_sys *sys, const char *file,
		   void (*each)(const char *path, uint64_t limit, uint64_t period, void *arg),
		   void *arg)
{
	struct limits limits = {sys, file, each, arg};

	return vfb_sys_each_cgroup(sys, NULL, read_limit, &limits);
}
