/* SPDX-License-Identifier: MIT */
/* vfioboost bench translate: lookups in a space, and in an array under a lock. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "command.h"
#include "lookup.h"
#include "output.h"
#include "rounds.h"

#define PAGE	   base_page_bytes()
#define MAX_RANGES 1000000
#define WANTED	   8192
#define SECONDS	   0.1

struct options {
	unsigned int ranges, repeat;
	bool json;
};

/* The lines. */
enum line {
	ONE,
	CHAINED,
	ONE_LOCK,
	TWO,
	TWO_LOCK,
	WRITER,
	OTHER,
	WRITER_LOCK,
	LINES,
};

/* What another thread changes meanwhile. */
enum beside {
	NOTHING,
	SAME_SPACE,
	OTHER_SPACE,
	ARRAY,
};

static const struct {
	const char *key, *text;
	enum lookup_way way;
	unsigned int readers;
	enum beside beside;
} lines[LINES] = {
	[ONE] = {"reader_ns", "1 reader", LOOKUP_SPACE, 1, NOTHING},
	[CHAINED] = {"chained_ns", "1 reader, each lookup after the last", LOOKUP_SPACE_CHAINED, 1,
		     NOTHING},
	[ONE_LOCK] = {"lock_reader_ns", "1 reader, reader-writer lock", LOOKUP_LOCK, 1, NOTHING},
	[TWO] = {"two_readers_ns", "2 readers", LOOKUP_SPACE, 2, NOTHING},
	[TWO_LOCK] = {"lock_two_readers_ns", "2 readers, reader-writer lock", LOOKUP_LOCK, 2,
		      NOTHING},
	[WRITER] = {"reader_beside_writer_ns", "1 reader, while another thread maps and unmaps",
		    LOOKUP_SPACE, 1, SAME_SPACE},
	[OTHER] = {"reader_beside_other_space_ns", "1 reader, while it does so in another space",
		   LOOKUP_SPACE, 1, OTHER_SPACE},
	[WRITER_LOCK] = {"lock_reader_beside_writer_ns",
			 "1 reader, while another thread changes it, lock", LOOKUP_LOCK, 1, ARRAY},
};

struct bench {
	struct options options;
	struct vfb_ctx *ctx;
	struct vfb_memory *memory;
	struct lookup_table table;
	/* Looked up once, so that its changes are published as well. */
	struct vfb_space *other;
	/* One CPU for the first reader, another for the second, or for the writer. */
	int cpus[2];
	unsigned int cpu_count;
};

/* What is measured of each. */
enum {
	NANOSECONDS,
	/* By the writer, in a second. */
	CHANGES,
	VALUES,
};

struct writer {
	struct bench *bench;
	enum beside beside;
	atomic_bool stop;
	uint64_t changes;
	pthread_t thread;
};

static const char doc[] =
	"Translate addresses in a space of many ranges (vfb_space_translate()) and, in the same "
	"run, in the same array protected by a reader-writer lock: nanoseconds per lookup in each "
	"reader."
	"\v"
	"The ranges are pages, scattered in memory and in IOVAs; a lookup is of 64 bytes in a "
	"random one. It needs no hardware, since the space has no IOMMU. The writer maps and "
	"unmaps one more page as fast as it can, on another CPU: in the same space, or in another "
	"one like it, which shows what any busy thread would cost. Lookups in a space are measured "
	"by the CPU time of the reader. The measurements take turns; medians are printed.\n"
	"\n" DOC_EXIT;

static const struct argument option_list[] = {
	{"ranges", 'n', "N", "Ranges in the space (1000)", FIELD(NUMBER, ranges), .low = 2,
	 .high = MAX_RANGES},
	ARGUMENT_REPEAT("Runs (11)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench translate",
					   .doc = doc,
					   .all = option_list};

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
	struct vfb_translation piece;
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
	if (!error)
		error = vfb_space_map(bench->other, ranges, table->count, NULL);
	if (!error)
		error = vfb_space_translate(bench->other, table->wanted[0], 1, &piece, 1) - 1;
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
	memory.page_size = VFB_PAGE_BASE;
	pthread_rwlock_init(&bench->table.lock, NULL);
	error = vfb_ctx_create(NULL, &bench->ctx);
	if (!error)
		error = vfb_space_create(bench->ctx, &space, &bench->table.space);
	if (!error)
		error = vfb_space_create(bench->ctx, &space, &bench->other);
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
	vfb_space_destroy(bench->other);
	vfb_memory_destroy(bench->memory);
	vfb_ctx_destroy(bench->ctx);
	pthread_rwlock_destroy(&bench->table.lock);
	free(bench->table.ranges);
	free(bench->table.wanted);
}

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	struct bench *bench = writer->bench;
	struct vfb_space *space = writer->beside == OTHER_SPACE ? bench->other : bench->table.space;
	struct vfb_range range = {.memory = bench->memory, .bytes = PAGE, .iova = 0};

	while (!atomic_load(&writer->stop)) {
		if (writer->beside == ARRAY) {
			lookup_change(&bench->table);
		} else if (vfb_space_map(space, &range, 1, NULL) ||
			   vfb_space_unmap(space, &range, 1, NULL)) {
			fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
			break;
		}
		writer->changes += 2;
	}
	return NULL;
}

static int measure(void *data, size_t line, double *values)
{
	struct bench *bench = data;
	struct writer writer = {.bench = bench, .beside = lines[line].beside};

	if ((writer.beside || lines[line].readers > 1) && bench->cpu_count < 2)
		return 0;
	if (writer.beside && pthread_create(&writer.thread, NULL, write_on, &writer)) {
		perror("vfioboost: cannot start a thread");
		return -1;
	}
	values[NANOSECONDS] = lookup_ns(&bench->table, lines[line].way, lines[line].readers,
					bench->cpus, SECONDS);
	if (writer.beside) {
		atomic_store(&writer.stop, true);
		pthread_join(writer.thread, NULL);
	}
	values[CHANGES] = writer.changes / SECONDS;
	if (values[NANOSECONDS] > 0)
		return 0;
	perror("vfioboost: cannot start a thread");
	return -1;
}

/* How much @more is than @less, of medians; 0 where there are none. */
static double ratio(const double *medians, enum line more, enum line less)
{
	return medians[less] > 0 ? medians[more] / medians[less] : 0;
}

static void print_gains(struct output *output, const double *medians, double changes)
{
	double two = 2 / ratio(medians, TWO, ONE),
	       two_lock = 2 / ratio(medians, TWO_LOCK, ONE_LOCK);
	double slower = ratio(medians, WRITER, ONE) - 1, other = ratio(medians, OTHER, ONE) - 1,
	       shared = ratio(medians, WRITER, OTHER) - 1;

	output_text(
		output,
		"\n2 readers find %.2f times what one does, under the lock %.2f times\n"
		"a writer, with %.0f changes a second, slows a reader by %.1f %%; in another space "
		"by %.1f %%:\nwhat they share slows it by %.1f %%\n",
		two, two_lock, changes, 100 * slower, 100 * other, 100 * shared);
	output_add(output, "two_readers_gain", json_object_new_double(two));
	output_add(output, "lock_two_readers_gain", json_object_new_double(two_lock));
	output_add(output, "writer_slows_by", json_object_new_double(slower));
	output_add(output, "other_space_slows_by", json_object_new_double(other));
	output_add(output, "sharing_slows_by", json_object_new_double(shared));
	output_add(output, "changes_per_s", json_object_new_double(changes));
}

static int print(const struct bench *bench, const struct rounds *rounds)
{
	double medians[LINES];
	struct output output;

	output_begin(&output, bench->options.json);
	output_text(&output, "%u ranges, Linux %s, medians of %u\n\n", bench->options.ranges,
		    output_kernel(), bench->options.repeat);
	output_add(&output, "ranges", json_object_new_uint64(bench->options.ranges));
	output_add(&output, "repeat", json_object_new_uint64(bench->options.repeat));
	for (size_t i = 0; i < LINES; i++) {
		medians[i] = rounds_median(rounds, i, NANOSECONDS);
		if (medians[i] <= 0)
			continue;
		output_text(&output, "%-50s %8.1f ns\n", lines[i].text, medians[i]);
		output_add(&output, lines[i].key, json_object_new_double(medians[i]));
	}
	if (bench->cpu_count > 1)
		print_gains(&output, medians, rounds_median(rounds, WRITER, CHANGES));
	return output_end(&output);
}

int bench_translate(int argc, char **argv)
{
	struct bench bench = {.options = {.ranges = 1000, .repeat = 11}};
	struct rounds rounds = {LINES, VALUES, 0, measure, &bench, NULL};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	rounds.repeat = bench.options.repeat;
	choose_cpus(&bench);
	if (!create(&bench) && !rounds_run(&rounds, 0, rounds.line_count))
		status = print(&bench, &rounds);
	destroy(&bench);
	rounds_free(&rounds);
	return status;
}
