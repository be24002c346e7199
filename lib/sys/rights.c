/* SPDX-License-Identifier: MIT */
#include "sys/rights.h"

#include <stdlib.h>
#include <string.h>

/* PROC_USER_INIT_INO */
#define INITIAL_USER_NAMESPACE "user:[4026531837]"

bool vfb_sys_has_capability(const struct vfb_sys *sys, unsigned int number)
{
	struct vfb_field caps = {.name = "CapEff", .base = 16};

	vfb_sys_read_fields(sys, "/proc/self/status", &caps, 1);
	return caps.value >> number & 1;
}

bool vfb_sys_is_capable(const struct vfb_sys *sys, unsigned int number)
{
	char name[64];

	return vfb_sys_has_capability(sys, number) &&
	       (sys->readlink(sys, "/proc/self/ns/user", name, sizeof(name)) ||
		!strcmp(name, INITIAL_USER_NAMESPACE));
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
