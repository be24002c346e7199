/* SPDX-License-Identifier: MIT */
#include "device/nodes.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "observe/error.h"

/* From a PCI device to the file of a USB device behind two hubs it is half as far. */
#define MAX_DEPTH 24

struct walk {
	const struct vfb_sys *sys;
	struct vfb_nodes *nodes;
	unsigned int depth;
	int error;
	/* Of the folder that is being looked at. */
	char path[PATH_MAX];
};

static bool name_node(const char *line, void *arg)
{
	struct vfb_node *node = arg;

	if (strncmp(line, "DEVNAME=", 8))
		return true;
	snprintf(node->name, sizeof(node->name), "/dev/%.34s", line + 8);
	return false;
}

int vfb_nodes_add(const struct vfb_sys *sys, const char *folder, bool is_block,
		  struct vfb_nodes *nodes)
{
	struct vfb_node node = {.is_block = is_block}, *all;
	const char *last = strrchr(folder, '/');
	char path[PATH_MAX + 16], text[32];
	ssize_t bytes;

	snprintf(path, sizeof(path), "%s/dev", folder);
	bytes = vfb_sys_read_file(sys, path, text, sizeof(text));
	if (bytes < 0 && !vfb_sys_is_absent(bytes))
		return vfb_fail_errno(bytes, "cannot read %s", path);
	if (bytes < 0 || sscanf(text, "%u:%u", &node.major, &node.minor) != 2)
		return 0;
	snprintf(node.name, sizeof(node.name), "/dev/%.30s", last ? last + 1 : folder);
	snprintf(path, sizeof(path), "%s/uevent", folder);
	vfb_sys_each_line(sys, path, name_node, &node);
	all = realloc(nodes->all, (nodes->count + 1) * sizeof(*all));
	if (!all)
		return vfb_fail_memory();
	nodes->all = all;
	all[nodes->count++] = node;
	return 0;
}

/* Block devices are those of the class of that name; every other one is a character device. */
static int add_device(const struct walk *walk)
{
	char path[PATH_MAX + 16], target[PATH_MAX] = "";
	const char *class;
	int error;

	snprintf(path, sizeof(path), "%s/subsystem", walk->path);
	error = walk->sys->readlink(walk->sys, path, target, sizeof(target));
	if (error && !vfb_sys_is_absent(error))
		return vfb_fail_errno(error, "cannot read the link %s", path);
	class = strrchr(target, '/');
	return vfb_nodes_add(walk->sys, walk->path, class && !strcmp(class, "/block"), walk->nodes);
}

static int visit_entry(const char *name, void *arg);

static int visit_folder(struct walk *walk)
{
	int error = walk->sys->list(walk->sys, walk->path, visit_entry, walk);

	if (!walk->error && error && !vfb_sys_is_absent(error))
		walk->error = vfb_fail_errno(error, "cannot list %s", walk->path);
	return walk->error;
}

static int visit_entry(const char *name, void *arg)
{
	struct walk *walk = arg;
	size_t length = strlen(walk->path);
	char target[PATH_MAX];

	if (!strcmp(name, "dev"))
		walk->error = add_device(walk);
	if (walk->error || walk->depth >= MAX_DEPTH || length + strlen(name) + 2 > PATH_MAX)
		return walk->error;
	sprintf(walk->path + length, "/%s", name);
	/* Links lead to other devices, and back. */
	if (walk->sys->readlink(walk->sys, walk->path, target, sizeof(target))) {
		walk->depth++;
		visit_folder(walk);
		walk->depth--;
	}
	walk->path[length] = '\0';
	return walk->error;
}

int vfb_nodes_find(const struct vfb_sys *sys, const char *folder, struct vfb_nodes *nodes)
{
	struct walk walk = {.sys = sys, .nodes = nodes};

	snprintf(walk.path, sizeof(walk.path), "%s", folder);
	return visit_folder(&walk);
}

void vfb_nodes_free(struct vfb_nodes *nodes)
{
	free(nodes->all);
	*nodes = (struct vfb_nodes){0};
}
