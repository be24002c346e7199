/* SPDX-License-Identifier: MIT */
/* Which process has a device node open, by its number in /proc/PID/fd. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/holder.h"

struct node_search {
	const struct vfb_sys *sys;
	const struct vfb_node *nodes;
	size_t count;
	int process;
	/* Why a process could not be looked at. */
	int error;
	/* The one that was found. */
	struct vfb_holder *holder;
};

/* A process that has ended, or a file that was closed, is of no interest. */
static int node_look_failed(struct node_search *search, int error)
{
	if (!vfb_sys_is_absent(error) && error != -ESRCH)
		search->error = error;
	return search->error;
}

static int node_compare_file(const char *name, void *arg)
{
	struct node_search *search = arg;
	struct vfb_sys_path file;
	char path[64];
	int error;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", search->process, name);
	error = search->sys->path_info(search->sys, path, &file);
	if (error)
		return node_look_failed(search, error);
	if (!file.is_node)
		return 0;
	for (size_t i = 0; i < search->count; i++) {
		const struct vfb_node *node = &search->nodes[i];

		if (node->is_block != file.is_block || node->major != file.major ||
		    node->minor != file.minor)
			continue;
		search->holder->process = search->process;
		snprintf(search->holder->what, sizeof(search->holder->what), "%s", node->name);
		return 1;
	}
	return 0;
}

static int node_look_at_process(const char *name, void *arg)
{
	struct node_search *search = arg;
	char path[32];
	int result;

	search->process = atoi(name);
	if (search->process <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", search->process);
	result = search->sys->list(search->sys, path, node_compare_file, search);
	if (result < 0 && !search->error)
		node_look_failed(search, result);
	return search->error ? search->error : result > 0;
}

int vfb_sys_find_node_holder(const struct vfb_sys *sys, const struct vfb_node *nodes, size_t count,
			     struct vfb_holder *holder)
{
	struct node_search search = {.sys = sys, .nodes = nodes, .count = count, .holder = holder};
	int result;

	*holder = (struct vfb_holder){0};
	result = sys->list(sys, "/proc", node_look_at_process, &search);
	if (result < 0 && !search.error)
		node_look_failed(&search, result);
	if (result > 0)
		vfb_holder_describe(sys, holder);
	return search.error;
}
