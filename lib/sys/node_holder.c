/* SPDX-License-Identifier: MIT */
/* Which process has a device node open, by its number in /proc/PID/fd. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/holder.h"

struct node_search {
	const struct vfb_sys *sys;
	const struct vfb_node *nodes;
	size_t count;
	int process;
	/* The one that was found. */
	struct vfb_holder holder;
};

static int node_compare_file(const char *name, void *arg)
{
	struct node_search *search = arg;
	struct vfb_sys_path file;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", search->process, name);
	if (search->sys->path_info(search->sys, path, &file) || !file.is_node)
		return 0;
	for (size_t i = 0; i < search->count; i++) {
		const struct vfb_node *node = &search->nodes[i];

		if (node->is_block != file.is_block || node->major != file.major ||
		    node->minor != file.minor)
			continue;
		search->holder.process = search->process;
		snprintf(search->holder.what, sizeof(search->holder.what), "%s", node->name);
		return 1;
	}
	return 0;
}

static int node_look_at_process(const char *name, void *arg)
{
	struct node_search *search = arg;
	char path[32];

	search->process = atoi(name);
	if (search->process <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", search->process);
	return search->sys->list(search->sys, path, node_compare_file, search) > 0;
}

struct vfb_holder vfb_sys_find_node_holder(const struct vfb_sys *sys, const struct vfb_node *nodes,
					   size_t count)
{
	struct node_search search = {.sys = sys, .nodes = nodes, .count = count};

	if (sys->list(sys, "/proc", node_look_at_process, &search) > 0)
		vfb_holder_describe(sys, &search.holder);
	return search.holder;
}
