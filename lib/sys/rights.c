/* SPDX-License-Identifier: MIT */
#include "sys/rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS "/proc/self/status"
/* PROC_USER_INIT_INO: the same on every host. */
#define FIRST_USER_NAMESPACE "user:[4026531837]"

static bool rights_read_line(const char *line, void *arg)
{
	struct vfb_rights *rights = arg;

	/* Real, effective, saved, of the file system. */
	sscanf(line, "Uid: %*u %*u %*u %u", &rights->uid);
	sscanf(line, "Gid: %*u %*u %*u %u", &rights->gid);
	if (!strncmp(line, "CapEff:", 7))
		rights->capabilities = strtoull(line + 7, NULL, 16);
	return true;
}

struct uid_search {
	unsigned int uid, outer;
};

/* A line of uid_map: the first one in here, outside, and their number. */
static bool rights_map_uid(const char *line, void *arg)
{
	struct uid_search *search = arg;
	unsigned int first, outer, count;

	if (sscanf(line, "%u %u %u", &first, &outer, &count) != 3 || search->uid < first ||
	    search->uid - first >= count)
		return true;
	search->outer = outer + (search->uid - first);
	return false;
}

void vfb_rights_read(const struct vfb_sys *sys, struct vfb_rights *rights)
{
	struct uid_search search;
	char name[64];

	*rights = (struct vfb_rights){0};
	vfb_sys_each_line(sys, STATUS, rights_read_line, rights);
	search = (struct uid_search){rights->uid, rights->uid};
	if (sys->readlink(sys, "/proc/self/ns/user", name, sizeof(name)) ||
	    !strcmp(name, FIRST_USER_NAMESPACE))
		return;
	rights->in_user_namespace = true;
	vfb_sys_each_line(sys, "/proc/self/uid_map", rights_map_uid, &search);
	rights->outer_uid = search.outer;
}

bool vfb_rights_include(const struct vfb_rights *rights, unsigned int capability)
{
	return !rights->in_user_namespace && rights->capabilities >> capability & 1;
}

bool vfb_sys_is_capable(const struct vfb_sys *sys, unsigned int capability)
{
	struct vfb_rights rights;

	vfb_rights_read(sys, &rights);
	return vfb_rights_include(&rights, capability);
}

struct group_search {
	unsigned int gid;
	bool found;
};

static bool rights_find_group(const char *line, void *arg)
{
	struct group_search *search = arg;
	const char *at = line + strlen("Groups:");
	char *end;

	if (strncmp(line, "Groups:", strlen("Groups:")))
		return true;
	for (unsigned long gid = strtoul(at, &end, 10); end != at; gid = strtoul(at, &end, 10)) {
		search->found = search->found || gid == search->gid;
		at = end;
	}
	return false;
}

bool vfb_rights_allow(const struct vfb_sys *sys, const struct vfb_rights *rights,
		      const struct vfb_sys_path *file)
{
	struct group_search search = {file->gid, rights->gid == file->gid};

	if (vfb_rights_include(rights, VFB_CAP_DAC_OVERRIDE))
		return true;
	if (rights->uid == file->uid)
		return (file->mode & 0600) == 0600;
	if (!search.found)
		vfb_sys_each_line(sys, STATUS, rights_find_group, &search);
	return search.found ? (file->mode & 060) == 060 : (file->mode & 06) == 06;
}

struct limit_search {
	const char *name;
	uint64_t value;
};

/* The soft limit is the first number behind the name. */
static bool visit_limit(const char *line, void *arg)
{
	struct limit_search *search = arg;
	size_t length = strlen(search->name);
	char *end;
	uint64_t value;

	if (strncmp(line, search->name, length))
		return true;
	value = strtoull(line + length, &end, 10);
	if (end != line + length)
		search->value = value;
	return false;
}

uint64_t vfb_sys_soft_limit(const struct vfb_sys *sys, const char *name)
{
	struct limit_search search = {name, UINT64_MAX};

	vfb_sys_each_line(sys, "/proc/self/limits", visit_limit, &search);
	return search.value;
}
