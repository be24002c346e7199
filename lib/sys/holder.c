/* SPDX-License-Identifier: MIT */
#include "sys/holder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
	const struct vfb_sys *sys;
	struct vfb_holders *holders;
	int process;
};

void vfb_holder_describe(const struct vfb_sys *sys, struct vfb_holder *holder)
{
	char path[40], name[32];

	if (holder->process == sys->process_id(sys)) {
		strcpy(holder->text, "this process");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/comm", holder->process);
	if (vfb_sys_read_file(sys, path, name, sizeof(name)) <= 0)
		strcpy(name, "?");
	/* Any process may choose its name, which is printed on a terminal. */
	for (char *c = name; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	snprintf(holder->text, sizeof(holder->text), "process %d (%.30s)", holder->process, name);
}

static int holders_add(const struct search *search, const char *what)
{
	struct vfb_holders *holders = search->holders;
	size_t bytes = (holders->count + 1) * sizeof(*holders->all);
	struct vfb_holder *all = realloc(holders->all, bytes);
	struct vfb_holder *holder;

	if (!all)
		return -ENOMEM;
	holders->all = all;
	holder = &all[holders->count];
	*holder = (struct vfb_holder){.process = search->process};
	snprintf(holder->what, sizeof(holder->what), "%s", what);
	vfb_holder_describe(search->sys, holder);
	holders->count++;
	return 0;
}

/* vfio_device_show_fdinfo(), Linux 6.18: vfio-device-syspath: /sys/devices/.../0000:01:00.0 */
static bool holders_find_address(const char *line, void *arg)
{
	const char *address = strrchr(line, '/');

	if (strncmp(line, "vfio-device-syspath:", 20) || !address)
		return true;
	snprintf(arg, sizeof(((struct vfb_holder *)NULL)->what), "%s", address + 1);
	return false;
}

static int holders_add_device(const struct search *search, const char *fd)
{
	char path[64], what[sizeof(((struct vfb_holder *)NULL)->what)] = "";

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", search->process, fd);
	vfb_sys_each_line(search->sys, path, holders_find_address, what);
	return holders_add(search, what);
}

static int holders_look_at_file(const char *name, void *arg)
{
	const struct search *search = arg;
	char path[64], target[256];
	char *what;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", search->process, name);
	if (search->sys->readlink(search->sys, path, target, sizeof(target)))
		return 0;
	if (!strcmp(target, "anon_inode:[vfio-device]"))
		return holders_add_device(search, name);
	/* Whatever its /dev is called here; followed by " (deleted)" where the node is gone. */
	what = strstr(target, "/vfio/");
	if (!what)
		return 0;
	what[strcspn(what, " ")] = '\0';
	return holders_add(search, what + 1);
}

static int holders_look_at_process(const char *name, void *arg)
{
	struct search *search = arg;
	char path[32];
	int result;

	search->process = atoi(name);
	if (search->process <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", search->process);
	result = search->sys->list(search->sys, path, holders_look_at_file, search);
	search->holders->hidden += result == -EACCES || result == -EPERM;
	return result == -ENOMEM ? result : 0;
}

int vfb_holders_search(const struct vfb_sys *sys, struct vfb_holders *holders)
{
	struct search search = {.sys = sys, .holders = holders};

	if (holders->searched)
		return 0;
	holders->searched = true;
	return sys->list(sys, "/proc", holders_look_at_process, &search) == -ENOMEM ? -ENOMEM : 0;
}

void vfb_holders_free(struct vfb_holders *holders)
{
	free(holders->all);
}

static bool holders_have(const struct vfb_holder *holder, const char *const *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(holder->what, paths[i] + strlen("/dev/")))
			return true;
	return false;
}

struct vfb_holder vfb_sys_find_holder(const struct vfb_sys *sys, const char *const *paths,
				      size_t count)
{
	struct vfb_holders holders = {0};
	struct vfb_holder found = {0};
	int self = sys->process_id(sys);

	vfb_holders_search(sys, &holders);
	for (size_t i = 0; i < holders.count; i++)
		if ((!found.process || found.process == self) &&
		    holders_have(&holders.all[i], paths, count))
			found = holders.all[i];
	vfb_holders_free(&holders);
	return found;
}
