/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Digits only, up to @max. Returns what follows, NULL if it is none. */
static const char *parse_number(const char *text, unsigned long max, unsigned long *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*number = strtoul(text, &end, 10);
	return errno || *number > max ? NULL : end;
}

/* As in 0000:01:00.0: it is written to the report. */
static bool is_address(const char *text)
{
	size_t length = strlen(text);

	return length && length < 32 && strspn(text, "0123456789abcdef:.") == length;
}

/* A set is the number of its first device: each device is closed with one set, once. */
static bool parse_device(const char *text, struct reaper_arguments *arguments)
{
	struct reaper_device *device = &arguments->devices[arguments->count];
	unsigned long set;

	text = parse_number(text, arguments->count, &set);
	if (!text || *text != '@' || !is_address(text + 1))
		return false;
	device->set = set;
	device->address = text + 1;
	return arguments->devices[set].set == set;
}

bool reaper_parse(int argc, char *const *argv, struct reaper_arguments *arguments)
{
	unsigned long process;
	const char *end;

	*arguments = (struct reaper_arguments){0};
	if (argc < 4 || argc - 3 > REAPER_MAX_DEVICES)
		return false;
	arguments->reporting = !strcmp(argv[1], "report");
	end = parse_number(argv[2], INT_MAX, &process);
	if ((!arguments->reporting && strcmp(argv[1], "silent")) || !end || *end || !process)
		return false;
	arguments->process = process;
	for (int i = 3; i < argc; i++) {
		if (!parse_device(argv[i], arguments))
			return false;
		arguments->count++;
	}
	return true;
}
