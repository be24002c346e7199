/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vfioboost/event.h>

#include "observe/error.h"

static const char *const names[] = {
	[VFB_PHASE_ATTACH] = "attach",	   [VFB_PHASE_OPEN] = "open",
	[VFB_PHASE_POPULATE] = "populate", [VFB_PHASE_MAP] = "map",
	[VFB_PHASE_UNMAP] = "unmap",	   [VFB_PHASE_CLOSE] = "close",
	[VFB_PHASE_DISCOVER] = "discover", [VFB_PHASE_RESET] = "reset",
	[VFB_PHASE_DOMAIN] = "domain",	   [VFB_PHASE_PUBLISH] = "publish",
	[VFB_PHASE_DETACH] = "detach",	   [VFB_PHASE_CREATE] = "create",
	[VFB_PHASE_DESTROY] = "destroy",   [VFB_PHASE_WAIT] = "wait",
	[VFB_PHASE_JOB] = "job",	   [VFB_PHASE_SYSCALL] = "syscall",
	[VFB_PHASE_USER] = "user",	   [VFB_PHASE_BAR] = "bar",
	[VFB_PHASE_DISCARD] = "discard",   [VFB_PHASE_TOUCH] = "touch",
	[VFB_PHASE_TRIM] = "trim",	   [VFB_PHASE_FAULT] = "fault",
	[VFB_PHASE_REGISTER] = "register",
};

_Static_assert(sizeof(names) / sizeof(names[0]) == VFB_PHASE_COUNT, "every phase has a name");

const char *vfb_phase_name(enum vfb_phase phase)
{
	return (unsigned int)phase < VFB_PHASE_COUNT ? names[phase] : "unknown";
}

static int unknown_phase(const char *text, size_t length)
{
	char known[256] = "";
	size_t used = 0;

	for (int phase = 0; phase < VFB_PHASE_COUNT; phase++)
		used += snprintf(known + used, sizeof(known) - used, "%s, ", names[phase]);
	return vfb_fail(-EINVAL, "unknown phase \"%.*s\": the phases are %sand all", (int)length,
			text, known);
}

static uint64_t find_phase(const char *text, size_t length)
{
	if (length == strlen("all") && !memcmp(text, "all", length))
		return VFB_PHASE_BIT(VFB_PHASE_COUNT) - 1;
	for (int phase = 0; phase < VFB_PHASE_COUNT; phase++)
		if (strlen(names[phase]) == length && !memcmp(text, names[phase], length))
			return VFB_PHASE_BIT(phase);
	return 0;
}

int vfb_phases_parse(const char *text, uint64_t *phases)
{
	uint64_t found = 0;

	*phases = 0;
	if (!text)
		return vfb_fail(-EINVAL, "the names of the phases are NULL");
	for (;;) {
		size_t length = strcspn(text, ",");
		uint64_t one = find_phase(text, length);

		if (!one)
			return unknown_phase(text, length);
		found |= one;
		if (!text[length])
			break;
		text += length + 1;
	}
	*phases = found;
	return 0;
}
