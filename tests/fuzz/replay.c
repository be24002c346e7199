/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target without libFuzzer: runs it once with each file of the folders that are named, and
 * for -t SECONDS with random inputs, of which -s SEED is the first one's. libFuzzer's counters are
 * data races to ThreadSanitizer.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

/* Of the input that was running when the program aborted. */
static volatile sig_atomic_t current_seed;

static void print_seed(int number)
{
	char text[32];
	int bytes = snprintf(text, sizeof(text), "seed %u\n", (unsigned int)current_seed);

	(void)number;
	if (write(STDERR_FILENO, text, bytes) != bytes)
		_exit(1);
}

static void run_random(unsigned int seed, unsigned int seconds)
{
	time_t end = time(NULL) + seconds;
	unsigned int runs = 0;

	signal(SIGABRT, print_seed);
	for (; time(NULL) < end; runs++) {
		uint8_t data[2048];
		size_t bytes;

		current_seed = seed + runs;
		srandom(seed + runs);
		bytes = random() % sizeof(data);
		for (size_t i = 0; i < bytes; i++)
			data[i] = random() >> 8;
		LLVMFuzzerTestOneInput(data, bytes);
	}
	printf("Done %u runs, from seed %u on\n", runs, seed);
}

int main(int argc, char **argv)
{
	unsigned int seed = 1, seconds = 0;
	int failed = 0, option;

	while ((option = getopt(argc, argv, "s:t:")) != -1) {
		if (option == 's')
			seed = strtoul(optarg, NULL, 0);
		else if (option == 't')
			seconds = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	for (int i = optind; i < argc; i++)
		failed |= replay_folder(argv[i]);
	run_random(seed, seconds);
	return failed;
}
