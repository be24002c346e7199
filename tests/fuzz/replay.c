/* SPDX-License-Identifier: MIT */
/* A fuzz target without libFuzzer: runs it once with each file of the folders that are named. */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "input.h"

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat stat;
	uint8_t *data;
	size_t bytes;

	if (!file || fstat(fileno(file), &stat)) {
		perror(path);
		return 1;
	}
	/* No larger than the input: sanitizers see each byte that is read beyond it. */
	data = malloc(stat.st_size ? stat.st_size : 1);
	bytes = data ? fread(data, 1, stat.st_size, file) : 0;
	fclose(file);
	LLVMFuzzerTestOneInput(data, bytes);
	free(data);
	return 0;
}

static int replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char name[4096];
	int failed = 0;

	if (!folder) {
		perror(path);
		return 1;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		failed |= replay_file(name);
	}
	closedir(folder);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay_folder(argv[i]);
	return failed;
}
