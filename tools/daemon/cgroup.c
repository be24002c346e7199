/* SPDX-License-Identifier: MIT */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"

static char base[256];

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

/* Every folder above the slots' has to pass the controllers on. */
static bool enable_below(const char *folder, char text[512])
{
	char path[400];

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", folder);
	if (!write_text(path, "+memory")) {
		snprintf(text, 512,
			 "cannot enable the memory controller (%s): %s; cgroups of "
			 "version 2 are needed",
			 path, strerror(errno));
		return false;
	}
	/* A kernel without it has no huge pages to count. */
	write_text(path, "+hugetlb");
	return true;
}

bool cgroup_init(const char *folder, char text[512])
{
	char parent[sizeof(base)];

	snprintf(base, sizeof(base), "%s", folder);
	if (strncmp(folder, ROOT "/", strlen(ROOT) + 1) || strlen(folder) >= sizeof(base) - 1) {
		snprintf(text, 512, "%.300s is not below " ROOT, folder);
		return false;
	}
	snprintf(parent, sizeof(parent), "%s", folder);
	*strrchr(parent, '/') = '\0';
	if (!enable_below(parent, text))
		return false;
	if (mkdir(base, 0755) && errno != EEXIST) {
		snprintf(text, 512, "cannot make %s: %s", base, strerror(errno));
		return false;
	}
	return enable_below(base, text);
}

static void name_path(char path[512], const char *name, const char *file)
{
	snprintf(path, 512, "%s/%.100s%s%.100s", base, name, file[0] ? "/" : "", file);
}

int cgroup_make(const char *name)
{
	char path[512];

	name_path(path, name, "");
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

int cgroup_open_procs(const char *name)
{
	char path[512];

	name_path(path, name, "cgroup.procs");
	return open(path, O_WRONLY | O_CLOEXEC);
}

/* The number behind @key in a file, or the first one with "". */
static uint64_t read_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256], *number;
	uint64_t value = 0;

	while (file && fgets(line, sizeof(line), file)) {
		number = line + strlen(key);
		if (strncmp(line, key, strlen(key)) || (key[0] && *number != ' '))
			continue;
		value = strtoull(number, NULL, 10);
		break;
	}
	if (file)
		fclose(file);
	return value;
}

/* Pages of shmem and of hugetlbfs; what the program that filled it has left in caches is not
 * anybody's secret. */
static bool read_bytes(const char *name, uint64_t *bytes)
{
	struct dirent *entry;
	char path[512];
	DIR *folder;

	name_path(path, name, "memory.stat");
	*bytes = read_number(path, "shmem");
	name_path(path, name, "");
	folder = opendir(path);
	if (!folder)
		return false;
	while ((entry = readdir(folder))) {
		size_t length = strlen(entry->d_name);

		if (strncmp(entry->d_name, "hugetlb.", 8) || length < 8 ||
		    strcmp(entry->d_name + length - 8, ".current") ||
		    strstr(entry->d_name, ".rsvd."))
			continue;
		name_path(path, name, entry->d_name);
		*bytes += read_number(path, "");
	}
	closedir(folder);
	return true;
}

enum cgroup_use cgroup_remove(const char *name, uint64_t *bytes)
{
	char path[512];

	*bytes = 0;
	name_path(path, name, "cgroup.events");
	if (access(path, F_OK))
		return errno == ENOENT ? CGROUP_GONE : CGROUP_FAILED;
	if (read_number(path, "populated"))
		return CGROUP_PROCESSES;
	if (!read_bytes(name, bytes))
		return CGROUP_FAILED;
	if (*bytes)
		return CGROUP_MEMORY;
	name_path(path, name, "");
	return rmdir(path) && errno != ENOENT ? CGROUP_FAILED : CGROUP_GONE;
}

void cgroup_each(void (*each)(const char *name, void *arg), void *arg)
{
	struct dirent **entries;
	int count = scandir(base, &entries, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		if (entries[i]->d_type == DT_DIR && entries[i]->d_name[0] != '.')
			each(entries[i]->d_name, arg);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

void cgroup_of(int pid, char *path, size_t room)
{
	char name[64], line[1024];
	FILE *file;

	path[0] = '\0';
	snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	file = fopen(name, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "0::", 3)) {
			line[strcspn(line, "\n")] = '\0';
			if (strlen(line + 3) < room)
				strcpy(path, line + 3);
		}
	if (file)
		fclose(file);
}

FILE *cgroup_procs_of(const char *path)
{
	char name[1200];

	if (path[0] != '/')
		return NULL;
	snprintf(name, sizeof(name), ROOT "%.1000s/cgroup.procs", path);
	return fopen(name, "re");
}
