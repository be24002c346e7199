/* SPDX-License-Identifier: MIT */
#include "fill.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

struct slice {
	pthread_t thread;
	pthread_barrier_t *ready;
	char *address;
	uint64_t bytes;
};

static void *run(void *arg)
{
	struct slice *slice = arg;

	pthread_barrier_wait(slice->ready);
	memset(slice->address, 1, slice->bytes);
	return NULL;
}

double fill_seconds(void *address, uint64_t bytes, unsigned int threads)
{
	struct slice *slices = calloc(threads, sizeof(*slices));
	pthread_barrier_t ready;
	double begin;

	if (!slices || pthread_barrier_init(&ready, NULL, threads + 1)) {
		free(slices);
		return -1;
	}
	for (unsigned int i = 0; i < threads; i++) {
		uint64_t first = bytes / threads * i;

		slices[i].ready = &ready;
		slices[i].address = (char *)address + first;
		slices[i].bytes = i + 1 < threads ? bytes / threads : bytes - first;
		/* Those that wait already cannot be called back, but the process ends. */
		if (pthread_create(&slices[i].thread, NULL, run, &slices[i]))
			return -1;
	}
	pthread_barrier_wait(&ready);
	begin = clock_seconds();
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(slices[i].thread, NULL);
	begin = clock_seconds() - begin;
	pthread_barrier_destroy(&ready);
	free(slices);
	return begin;
}

unsigned int fill_cpus(void)
{
	/* The kernel refuses a set that is smaller than its own: it can be built for 8192 CPUs. */
	cpu_set_t sets[8192 / CPU_SETSIZE];

	return sched_getaffinity(0, sizeof(sets), sets) ? 1 : CPU_COUNT_S(sizeof(sets), sets);
}
