/* SPDX-License-Identifier: MIT */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What `vfioboost exec` passes to the object that it preloads, in this environment variable: as
 * text, because a process that can set the variable can set LD_PRELOAD as well, and so gains
 * nothing. The object copies it to its own memory at start and reads it never again. Nothing else
 * that a process of the command can write is acted on.
 */
#define SETTINGS_VARIABLE "VFIOBOOST_EXEC"

struct settings {
	/* What to do. */
	bool boost, thp;
	unsigned int threads;
	/* The command itself; other processes inherit the preloaded object from it. */
	pid_t process;
	/* The file of struct records: its path, and which file has to be found there. */
	char records[64];
	uint64_t device, inode;
	/* The program that closes devices after the command has ended; "" for none. */
	char reaper[PATH_MAX];
};

/* Room for the text of any settings. */
#define SETTINGS_TEXT (PATH_MAX + 256)

void settings_format(const struct settings *settings, char text[SETTINGS_TEXT]);

/* False: @text is not what settings_format() writes in this version. */
bool settings_parse(const char *text, struct settings *settings);

#endif
