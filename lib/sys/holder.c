/* SPDX-License-Identifier: MIT */
/* Which process has a file open, by the links in /proc/PID/fd. */
#include "sys/holder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct holder_search {
	const struct vfb_sys *sys;
	const char *const *paths;
	size_t count;
	/* The process that is being looked at. */
	const char *pid;
	bool found_self;
	struct vfb_holder holder;
};

static int visit_open_file(const char *name, void *arg)
{
	struct holder_search *search = arg;
	char path[64], target[256];

	snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", search->pid, name);
	if (search->sys->readlink(search->sys, path, target, sizeof(target)))
		return 0;
	for (size_t i = 0; i < search->count; i++)
		if (!strcmp(target, search->paths[i]))
			return 1;
	return 0;
}

static int visit_process(const char *name, void *arg)
{
	struct holder_search *search = arg;
	char path[64], comm[32];

	if (strspn(name, "0123456789") != strlen(name))
		return 0;
	search->pid = name;
	snprintf(path, sizeof(path), "/proc/%.20s/fd", name);
	if (search->sys->list(search->sys, path, visit_open_file, search) <= 0)
		return 0;
	if (atoi(name) == search->sys->process_id(search->sys)) {
		search->found_self = true;
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%.20s/comm", name);
	if (vfb_sys_read_file(search->sys, path, comm, sizeof(comm)) <= 0)
		snprintf(comm, sizeof(comm), "?");
	snprintf(search->holder.text, sizeof(search->holder.text), "process %.20s (%.30s)", name,
		 comm);
	return 1;
}

struct vfb_holder vfb_sys_find_holder(const struct vfb_sys *sys, const char *const *paths,
				      size_t count)
{
	struct holder_search search = {.sys = sys, .paths = paths, .count = count};

	sys->list(sys, "/proc", visit_process, &search);
	if (!search.holder.text[0] && search.found_self)
		snprintf(search.holder.text, sizeof(search.holder.text), "this process");
	return search.holder;
}
