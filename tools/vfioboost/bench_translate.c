/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <vfioboost.h>

#include "arguments.h"
#include "command.h"
#include "lookup.h"
#include "output.h"
#include "statistics.h"

#define PAGE	   UINT64_C(4096)
#define MAX_RANGES 1000000
#define WANTED	   8192
#define SECONDS	   0.1

struct options {
	unsigned int ranges, repeat;
	bool json;
};

/* What is measured, taking turns. */
enum measure {
	ONE,
	CHAINED,
	ONE_LOCK,
	TWO,
	TWO_LOCK,
	WRITER,
	WRITER_LOCK,
	MEASURES,
};

static const struct {
	const char *key, *text;
	enum lookup_way way;
	unsigned int readers;
	bool writer;
} measures[MEASURES] = {
	[ONE] = {"reader_ns", "1 reader", LOOKUP_SPACE, 1, false},
	[CHAINED] = {"chained_ns", "1 reader, each lookup after the last", LOOKUP_SPACE_CHAINED, 1,
		     false},
	[ONE_LOCK] = {"lock_reader_ns", "1 reader, reader-writer lock", LOOKUP_LOCK, 1, false},
	[TWO] = {"two_readers_ns", "2 readers", LOOKUP_SPACE, 2, false},
	[TWO_LOCK] = {"lock_two_readers_ns", "2 readers, reader-writer lock", LOOKUP_LOCK, 2,
		      false},
	[WRITER] = {"reader_beside_writer_ns", "1 reader, while another thread maps and unmaps",
		    LOOKUP_SPACE, 1, true},
	[WRITER_LOCK] = {"lock_reader_beside_writer_ns",
			 "1 reader, while another thread changes it, lock", LOOKUP_LOCK, 1, true},
};

struct bench {
	struct options options;
	struct vfb_ctx *ctx;
	struct vfb_memory *memory;
	struct lookup_table table;
	/* One CPU for the first reader, another for the second, or for the writer. */
	int cpus[2];
	unsigned int cpu_count;
	/* One for each run. */
	double *ns[MEASURES];
	double *changes;
};

struct writer {
	struct bench *bench;
	bool lock;
	atomic_bool stop;
	uint64_t changes;
	pthread_t thread;
};

static const char doc[] =
	"Look addresses up in a space of many ranges (vfb_space_translate()), and, in the same "
	"run, in the same array under a reader-writer lock: nanoseconds for a lookup in each "
	"reader."
	"\v"
	"The ranges are pages, scattered in memory and in IOVAs; a lookup is of 64 bytes at a "
	"random one. It needs no hardware: the space has no IOMMU. The writer maps and unmaps "
	"one more page as fast as it can, on another CPU. What is measured takes turns; medians "
	"are printed.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const struct argp_option argp_options[] = {
	{"ranges", 'n', "N", 0, "Ranges in the space (1000)", 0},
	{"repeat", 'r', "N", 0, "Runs (11)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'n':
		options->ranges = argument_number(state, "ranges", arg, 2, MAX_RANGES);
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

/* The first CPU is the reader's; everything else has to stay off it. */
static void choose_cpus(struct bench *bench)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE && bench->cpu_count < 2; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			bench->cpus[bench->cpu_count++] = cpu;
	if (bench->cpu_count < 2)
		return;
	CPU_CLR(bench->cpus[0], &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* Pages of memory, the first for the writer, with as much room between their IOVAs. */
static int make_ranges(struct bench *bench)
{
	struct vfb_range *ranges = calloc(bench->options.ranges, sizeof(*ranges));
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct lookup_table *table = &bench->table;
	int error;

	table->ranges = calloc(bench->options.ranges, sizeof(*table->ranges));
	table->wanted = calloc(WANTED, sizeof(*table->wanted));
	if (!ranges || !table->ranges || !table->wanted) {
		free(ranges);
		perror("vfioboost");
		return -1;
	}
	vfb_memory_info(bench->memory, &info);
	table->count = bench->options.ranges;
	table->wanted_count = WANTED;
	for (size_t i = 0; i < table->count; i++) {
		/* Neighbours in IOVA are apart in memory: 7919 is prime. */
		uint64_t page = 1 + i * 7919 % table->count;

		ranges[i] = (struct vfb_range){
			.memory = bench->memory,
			.offset = page * PAGE,
			.bytes = PAGE,
			.iova = (2 * i + 1) * PAGE,
		};
		table->ranges[i] = (struct lookup_range){
			.iova = ranges[i].iova,
			.bytes = PAGE,
			.address = (char *)info.address + ranges[i].offset,
		};
	}
	srandom(1);
	for (size_t i = 0; i < WANTED; i++)
		table->wanted[i] = ranges[random() % table->count].iova + random() % (PAGE - 64);
	error = vfb_space_map(table->space, ranges, table->count, NULL);
	free(ranges);
	return error;
}

static int create(struct bench *bench)
{
	struct vfb_space_opts space = VFB_SPACE_OPTS_INIT;
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	int error;

	space.backend = VFB_BACKEND_NONE;
	memory.bytes = (bench->options.ranges + 1) * PAGE;
	memory.page_size = VFB_PAGE_4K;
	pthread_rwlock_init(&bench->table.lock, NULL);
	error = vfb_ctx_create(NULL, &bench->ctx);
	if (!error)
		error = vfb_space_create(bench->ctx, &space, &bench->table.space);
	if (!error)
		error = vfb_memory_create(bench->ctx, &memory, &bench->memory);
	if (!error)
		error = make_ranges(bench);
	if (error < -1)
		fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
	return error;
}

static void destroy(struct bench *bench)
{
	vfb_space_destroy(bench->table.space);
	vfb_memory_destroy(bench->memory);
	vfb_ctx_destroy(bench->ctx);
	pthread_rwlock_destroy(&bench->table.lock);
	free(bench->table.ranges);
	free(bench->table.wanted);
}

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	struct vfb_range range = {
		.memory = writer->bench->memory,
		.bytes = PAGE,
		.iova = 0,
	};

	while (!atomic_load(&writer->stop)) {
		if (writer->lock) {
			lookup_change(&writer->bench->table);
		} else if (vfb_space_map(writer->bench->table.space, &range, 1, NULL) ||
			   vfb_space_unmap(writer->bench->table.space, &range, 1, NULL)) {
			fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
			break;
		}
		writer->changes += 2;
	}
	return NULL;
}

static int measure_one(struct bench *bench, enum measure measure, unsigned int run)
{
	struct writer writer = {.bench = bench, .lock = measures[measure].way == LOOKUP_LOCK};

	if ((measures[measure].writer || measures[measure].readers > 1) && bench->cpu_count < 2)
		return 0;
	if (measures[measure].writer && pthread_create(&writer.thread, NULL, write_on, &writer)) {
		perror("vfioboost: cannot start a thread");
		return -1;
	}
	bench->ns[measure][run] = lookup_ns(&bench->table, measures[measure].way,
					    measures[measure].readers, bench->cpus, SECONDS);
	if (measures[measure].writer) {
		atomic_store(&writer.stop, true);
		pthread_join(writer.thread, NULL);
	}
	if (measure == WRITER)
		bench->changes[run] = writer.changes / SECONDS;
	if (bench->ns[measure][run] > 0)
		return 0;
	perror("vfioboost: cannot start a thread");
	return -1;
}

static int measure_all(struct bench *bench)
{
	for (unsigned int run = 0; run < bench->options.repeat; run++)
		for (int measure = 0; measure < MEASURES; measure++) {
			int error = measure_one(bench, measure, run);

			if (error)
				return error;
		}
	return 0;
}

/* How much @more is than @less, of medians; 0 where there are none. */
static double ratio(const double *medians, enum measure more, enum measure less)
{
	return medians[less] > 0 ? medians[more] / medians[less] : 0;
}

static bool print_table(const struct bench *bench, const double *medians, double changes)
{
	struct utsname kernel;

	uname(&kernel);
	printf("%u ranges, Linux %s, medians of %u\n\n", bench->options.ranges, kernel.release,
	       bench->options.repeat);
	for (int i = 0; i < MEASURES; i++)
		if (medians[i] > 0)
			printf("%-50s %8.1f ns\n", measures[i].text, medians[i]);
	if (bench->cpu_count > 1)
		printf("\n2 readers find %.2f times what one does, under the lock %.2f times\n"
		       "a writer, with %.0f changes a second, slows a reader by %.1f %%\n",
		       2 / ratio(medians, TWO, ONE), 2 / ratio(medians, TWO_LOCK, ONE_LOCK),
		       changes, 100 * (ratio(medians, WRITER, ONE) - 1));
	return output_flush();
}

static bool print_json(const struct bench *bench, const double *medians, double changes)
{
	struct json_object *object = output_object();

	json_object_object_add(object, "ranges", json_object_new_int(bench->options.ranges));
	json_object_object_add(object, "repeat", json_object_new_int(bench->options.repeat));
	for (int i = 0; i < MEASURES; i++)
		if (medians[i] > 0)
			json_object_object_add(object, measures[i].key,
					       json_object_new_double(medians[i]));
	if (bench->cpu_count > 1) {
		json_object_object_add(object, "two_readers_gain",
				       json_object_new_double(2 / ratio(medians, TWO, ONE)));
		json_object_object_add(object, "lock_two_readers_gain",
				       json_object_new_double(2 /
							      ratio(medians, TWO_LOCK, ONE_LOCK)));
		json_object_object_add(object, "writer_slows_by",
				       json_object_new_double(ratio(medians, WRITER, ONE) - 1));
		json_object_object_add(object, "changes_per_s", json_object_new_double(changes));
	}
	return output_json(object);
}

static bool print(const struct bench *bench)
{
	unsigned int repeat = bench->options.repeat;
	double medians[MEASURES], changes = median(bench->changes, repeat);

	for (int i = 0; i < MEASURES; i++)
		medians[i] = median(bench->ns[i], repeat);
	return bench->options.json ? print_json(bench, medians, changes) :
				     print_table(bench, medians, changes);
}

int bench_translate(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost bench translate";
	struct bench bench = {.options = {.ranges = 1000, .repeat = 11}};
	bool written = false;
	double *times;
	int error;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &bench.options);
	times = calloc((MEASURES + 1) * bench.options.repeat, sizeof(*times));
	if (!times) {
		perror("vfioboost");
		return EXIT_FAILED;
	}
	for (int i = 0; i < MEASURES; i++)
		bench.ns[i] = &times[i * bench.options.repeat];
	bench.changes = &times[MEASURES * bench.options.repeat];
	choose_cpus(&bench);
	error = create(&bench);
	if (!error)
		error = measure_all(&bench);
	if (!error) {
		written = print(&bench);
		if (!written)
			perror("vfioboost: cannot write the results");
	}
	destroy(&bench);
	free(times);
	return written ? EXIT_OK : EXIT_FAILED;
}
