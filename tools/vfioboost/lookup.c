/* SPDX-License-Identifier: MIT */
#include "lookup.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* Lookups between two looks at the clock. */
#define BATCH 1024

#define MAX_READERS 64

struct reader {
	struct lookup_table *table;
	enum lookup_way way;
	int cpu;
	uint64_t ns;
	pthread_t thread;
	uint64_t lookups, elapsed_ns;
	/* Keeps the compiler from leaving out what nobody uses. */
	uint64_t sum;
};

static uint64_t look_in_space(struct lookup_table *table, uint64_t iova)
{
	struct vfb_translation piece = {0};

	return vfb_space_translate(table->space, iova, 64, &piece, 1) == 1 ?
		       (uintptr_t)piece.address :
		       0;
}

/* The same search as the library's. */
static uint64_t look_under_lock(struct lookup_table *table, uint64_t iova)
{
	const struct lookup_range *base = table->ranges;
	size_t count;
	uint64_t found = 0;

	pthread_rwlock_rdlock(&table->lock);
	count = table->count;
	while (count > 1) {
		size_t half = count / 2;

		base = __builtin_expect_with_probability(base[half].iova <= iova, 1, 0.5) ?
			       base + half :
			       base;
		count -= half;
	}
	if (iova - base->iova < base->bytes && 64 <= base->bytes - (iova - base->iova))
		found = (uintptr_t)base->address + (iova - base->iova);
	pthread_rwlock_unlock(&table->lock);
	return found;
}

static void run_batch(struct reader *reader)
{
	struct lookup_table *table = reader->table;
	size_t at = reader->lookups % table->wanted_count;
	uint64_t sum = 0;

	for (int i = 0; i < BATCH; i++) {
		uint64_t iova = table->wanted[at];

		switch (reader->way) {
		case LOOKUP_SPACE:
			sum += look_in_space(table, iova);
			break;
		case LOOKUP_SPACE_CHAINED:
			/* Of a result, no bit is set beyond the first 63. */
			sum = look_in_space(table, iova + (sum >> 63));
			break;
		case LOOKUP_LOCK:
			sum += look_under_lock(table, iova);
			break;
		}
		at = at + 1 == table->wanted_count ? 0 : at + 1;
	}
	reader->sum += sum;
	reader->lookups += BATCH;
}

/* Lookups in a space never wait, so that their CPU time is what they take, even if the machine is
 * busy. Under the lock, waiting counts. */
static uint64_t reader_clock(const struct reader *reader)
{
	return reader->way == LOOKUP_LOCK ? clock_ns() : clock_thread_ns();
}

static void *run(void *arg)
{
	struct reader *reader = arg;
	uint64_t begin;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(reader->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	/* Caches, and the thread's registration. */
	for (int i = 0; i < 8; i++)
		run_batch(reader);
	reader->lookups = 0;
	begin = reader_clock(reader);
	do {
		run_batch(reader);
		reader->elapsed_ns = reader_clock(reader) - begin;
	} while (reader->elapsed_ns < reader->ns);
	return NULL;
}

double lookup_ns(struct lookup_table *table, enum lookup_way way, unsigned int readers,
		 const int *cpus, double seconds)
{
	struct reader all[MAX_READERS] = {0};
	double sum = 0;
	unsigned int started = 0;

	for (; started < readers && started < MAX_READERS; started++) {
		struct reader *reader = &all[started];

		reader->table = table;
		reader->way = way;
		reader->cpu = cpus[started];
		reader->ns = (uint64_t)(seconds * 1e9);
		if (pthread_create(&reader->thread, NULL, run, reader))
			break;
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(all[i].thread, NULL);
		sum += (double)all[i].elapsed_ns / all[i].lookups;
	}
	return started == readers ? sum / readers : 0;
}

void lookup_change(struct lookup_table *table)
{
	size_t last = table->count - 1;

	pthread_rwlock_wrlock(&table->lock);
	/* As an insertion in the middle would move what is behind it. */
	memmove(&table->ranges[last / 2 + 1], &table->ranges[last / 2],
		(last - last / 2) * sizeof(*table->ranges));
	memmove(&table->ranges[last / 2], &table->ranges[last / 2 + 1],
		(last - last / 2) * sizeof(*table->ranges));
	pthread_rwlock_unlock(&table->lock);
}
