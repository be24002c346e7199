/* SPDX-License-Identifier: MIT */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

long proc_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[512];
	long number = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (!key || !strncmp(line, key, strlen(key))) {
			number = strtol(line + (key ? strlen(key) : 0), NULL, 10);
			break;
		}
	fclose(file);
	return number;
}

long proc_entries(const char *path)
{
	DIR *dir = opendir(path);
	long count = 0;

	if (!dir)
		die(path);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
