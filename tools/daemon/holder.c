/* SPDX-License-Identifier: MIT */
#include "holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"

static bool has_open(pid_t pid, dev_t device, ino_t inode)
{
	struct dirent *entry;
	struct stat stat;
	bool found = false;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = opendir(path);
	if (!folder)
		return false;
	while (!found && (entry = readdir(folder)))
		found = !fstatat(dirfd(folder), entry->d_name, &stat, 0) && S_ISREG(stat.st_mode) &&
			stat.st_dev == device && stat.st_ino == inode;
	closedir(folder);
	return found;
}

/* Of lines "from-to perms offset major:minor inode path". */
static bool has_mapped(pid_t pid, dev_t device, ino_t inode)
{
	unsigned long major_number, minor_number, number;
	bool found = false;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%*s %*s %*s %lx:%lx %lu", &major_number, &minor_number,
			       &number) == 3 &&
			number == inode && makedev(major_number, minor_number) == device;
	if (file)
		fclose(file);
	return found;
}

bool holder_has(pid_t pid, dev_t device, ino_t inode)
{
	return has_open(pid, device, inode) || has_mapped(pid, device, inode);
}

static void read_name(pid_t pid, char name[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(name, 32, file))
		strcpy(name, "?");
	name[strcspn(name, "\n")] = '\0';
	/* Whoever holds it chooses its name. */
	for (char *c = name; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (file)
		fclose(file);
}

pid_t holder_find(dev_t device, ino_t inode, char name[32])
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (folder && !found && (entry = readdir(folder))) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

		if (pid && pid != getpid() && holder_has(pid, device, inode))
			found = pid;
	}
	if (folder)
		closedir(folder);
	if (found)
		read_name(found, name);
	return found;
}

pid_t holder_find_in(const char *cgroup, dev_t device, ino_t inode)
{
	FILE *file = cgroup_procs_of(cgroup);
	pid_t found = 0, self = getpid();
	int pid;

	while (file && !found && fscanf(file, "%d", &pid) == 1)
		if (pid != self && pid != getppid() && holder_has(pid, device, inode))
			found = pid;
	if (file)
		fclose(file);
	return found;
}
