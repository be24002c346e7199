/* SPDX-License-Identifier: MIT */
#include "stall.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"

static void *run(void *arg)
{
	struct stall *stall = arg;

	while (!atomic_load(&stall->stop)) {
		double begin = clock_seconds(), took;
		void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page != MAP_FAILED)
			munmap(page, 4096);
		took = clock_seconds() - begin;
		stall->maps++;
		if (took > stall->longest_s)
			stall->longest_s = took;
	}
	return NULL;
}

int stall_begin(struct stall *stall)
{
	int error;

	atomic_init(&stall->stop, false);
	stall->longest_s = 0;
	stall->maps = 0;
	error = pthread_create(&stall->thread, NULL, run, stall);
	if (error)
		fprintf(stderr, "vfioboost: cannot start a thread: %s\n", strerror(error));
	return error ? -1 : 0;
}

double stall_end(struct stall *stall)
{
	atomic_store(&stall->stop, true);
	pthread_join(stall->thread, NULL);
	return stall->longest_s;
}
