/* SPDX-License-Identifier: MIT */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void read_name(const char *thread, char *name, size_t bytes)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", thread);
	name[0] = '\0';
	file = fopen(path, "re");
	if (file && !fgets(name, bytes, file))
		name[0] = '\0';
	if (file)
		fclose(file);
}

/* Whether a thread waits for something: it has begun, then. */
static bool is_asleep(const char *thread)
{
	char path[300], line[512] = "", *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", thread);
	file = fopen(path, "re");
	if (file && !fgets(line, sizeof(line), file))
		line[0] = '\0';
	if (file)
		fclose(file);
	state = strrchr(line, ')');
	return state && !strncmp(state, ") S", 3);
}

/* Returns how many threads besides this one may yet name themselves. Some never do. */
static unsigned int count_names(const char *prefix, unsigned int *count)
{
	DIR *dir = opendir("/proc/self/task");
	char name[32], own[32], self[16];
	unsigned int nameless = 0;
	struct dirent *entry;

	*count = 0;
	snprintf(self, sizeof(self), "%d", getpid());
	read_name(self, own, sizeof(own));
	while (dir && (entry = readdir(dir))) {
		read_name(entry->d_name, name, sizeof(name));
		*count += !strncmp(name, prefix, strlen(prefix));
		nameless += strcmp(entry->d_name, self) != 0 && !strcmp(name, own) &&
			    !is_asleep(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return nameless;
}

/* Threads name themselves first of all, which is later than they are created. */
unsigned int proc_threads(const char *prefix)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	unsigned int count;

	for (int i = 0; count_names(prefix, &count) && i < 1000; i++)
		nanosleep(&pause, NULL);
	return count;
}
