/* SPDX-License-Identifier: MIT */
/*
 * vfioboost-reaper: closes the devices of a process that has ended, see vfioboost/reaper.h. It is
 * started by the library, never by hand:
 *
 *	vfioboost-reaper report|silent PROCESS SET@ADDRESS...
 *
 * Descriptor 3 is a pipe that the process holds the other end of, 4 takes the report, the devices
 * follow in the order of the arguments. Devices of one set share a reset: they are closed one after
 * another. A set is the number of its first device.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PIPE = 3,
	REPORT,
	FIRST_DEVICE,
};

struct device {
	/* The number of the first device that it shares its reset with. */
	unsigned long set;
	const char *address;
	int fd;
};

static struct device *devices;
static size_t count;
static bool reporting;
static double begin;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Each line with one call, so that those of several threads don't mix. */
static void report(const char *what, const char *address)
{
	if (reporting)
		dprintf(REPORT, "%s%s %.3f s\n", what, address, now() - begin);
}

static void *close_set(void *arg)
{
	const struct device *first = arg;

	for (size_t i = first - devices; i < count; i++) {
		if (devices[i].set != first->set)
			continue;
		close(devices[i].fd);
		report("released ", devices[i].address);
	}
	return NULL;
}

/*
 * Descriptors of a process are closed one by one when it ends, the pipe's perhaps before those of
 * devices: were a device closed here meanwhile, the process would wait for the reset after all.
 * It has another parent only when all are closed (do_exit(): exit_files(), then exit_notify()).
 */
static void wait_for_end(pid_t process)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (getppid() == process)
		nanosleep(&pause, NULL);
}

static void close_all(pthread_t *threads)
{
	size_t started = 0;

	for (size_t i = 0; i < count; i++)
		/* Without a thread it takes longer. */
		if (devices[i].set == i &&
		    pthread_create(&threads[started++], NULL, close_set, &devices[i])) {
			started--;
			close_set(&devices[i]);
		}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

static bool read_devices(char **arguments)
{
	for (size_t i = 0; i < count; i++) {
		char *end;

		devices[i].set = strtoul(arguments[i], &end, 10);
		if (*end != '@')
			return false;
		devices[i].address = end + 1;
		devices[i].fd = FIRST_DEVICE + i;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};
	pthread_t *threads;
	char byte;

	if (argc < 4 || argc > 1024)
		return 2;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	reporting = !strcmp(argv[1], "report");
	count = argc - 3;
	devices = calloc(count, sizeof(*devices));
	threads = calloc(count, sizeof(*threads));
	if (!devices || !threads || !read_devices(argv + 3))
		return 2;
	/* Something to read: the process lives, and wants its devices for itself. */
	if (read(PIPE, &byte, 1))
		return 0;
	begin = now();
	wait_for_end(atoi(argv[2]));
	close_all(threads);
	report("done", "");
	return 0;
}
