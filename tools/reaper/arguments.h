/* SPDX-License-Identifier: MIT */
#ifndef REAPER_ARGUMENTS_H
#define REAPER_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define REAPER_MAX_DEVICES 1024

/* A device, as "SET@ADDRESS" says. */
struct reaper_device {
	/* The number of the first device that it shares its reset with. */
	size_t set;
	const char *address;
};

struct reaper_arguments {
	bool reporting;
	pid_t process;
	struct reaper_device devices[REAPER_MAX_DEVICES];
	size_t count;
};

/* Of main(); they stay in use. False: they are not those that the library passes. */
bool reaper_parse(int argc, char *const *argv, struct reaper_arguments *arguments);

#endif
