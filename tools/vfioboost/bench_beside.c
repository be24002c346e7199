/* SPDX-License-Identifier: MIT */
/* vfioboost bench beside: populating by each way, beside a thread that maps and unmaps. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "fill.h"
#include "output.h"
#include "rounds.h"
#include "stall.h"
#include "table.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define GIB	   1073741824.0
#define STEP	   (UINT64_C(2) << 20)
#define PAGE_SIZES (VFB_PAGE_2M + 1)

struct options {
	uint64_t bytes;
	bool memfd;
	/* None: all that the host has. */
	struct number_list page_sizes;
	unsigned int repeat;
	bool json;
};

enum way {
	BY_LIBRARY,
	BY_ADVICE,
	BY_TOUCH,
	BY_MEMSET,
	WAYS,
};

static const char *const way_names[WAYS] = {
	"library",
	"madvise()",
	"touching",
	"memset()",
};

/* What is measured of a line. */
enum {
	QUIET,
	BESIDE,
	LONGEST,
	MAPS,
	VALUES,
};

struct line {
	enum vfb_page_size page_size;
	enum way way;
};

struct bench {
	struct options options;
	struct line lines[PAGE_SIZES * WAYS];
	size_t line_count;
	unsigned int cpus;
	struct vfb_ctx *ctx;
	struct rounds rounds;
};

static const char doc[] =
	"Populate memory on all CPUs, alone and beside a thread that keeps mapping and unmapping a "
	"page: by the library, by MADV_POPULATE_WRITE in steps of 2 MiB, and by touching pages in "
	"user mode. memset() of memory that is already populated is the limit."
	"\v"
	"The lines take turns, after an unmeasured run of each. Medians are printed, and of the "
	"other thread its longest wait in all runs.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const char *const size_choices[] = {"4k", "thp", "2m", NULL};

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Size of the memory (1G)", FIELD(SIZE, bytes)},
	{"page-size", 'p', "4k|thp|2m[,...]", "Its pages (all that the host has available)",
	 FIELD(CHOICES, page_sizes), .names = size_choices, .low = VFB_PAGE_BASE},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd, which can be shared, not anonymous memory"),
	ARGUMENT_REPEAT("Runs of each line (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench beside",
					   .doc = doc,
					   .all = option_list};

/* ---- Ways without the library ---- */

struct crew {
	char *address;
	uint64_t bytes, page_bytes;
	bool touches;
	atomic_uint_fast64_t next;
	atomic_int error;
};

static int crew_step(const struct crew *crew, uint64_t offset, uint64_t bytes)
{
	if (!crew->touches)
		return madvise(crew->address + offset, bytes, MADV_POPULATE_WRITE);
	for (uint64_t end = offset + bytes; offset < end; offset += crew->page_bytes)
		*(volatile char *)(crew->address + offset) = 0;
	return 0;
}

static void *crew_run(void *arg)
{
	struct crew *crew = arg;
	uint64_t offset;

	while ((offset = atomic_fetch_add(&crew->next, 8 * STEP)) < crew->bytes) {
		uint64_t end = offset + 8 * STEP;

		for (; offset < end && offset < crew->bytes; offset += STEP) {
			uint64_t left = crew->bytes - offset;

			if (crew_step(crew, offset, left < STEP ? left : STEP))
				atomic_store(&crew->error, 1);
		}
	}
	return NULL;
}

static int crew_populate(struct crew *crew, unsigned int count)
{
	pthread_t *threads = calloc(count, sizeof(*threads));
	unsigned int started = 0;

	while (threads && started < count &&
	       !pthread_create(&threads[started], NULL, crew_run, crew))
		started++;
	for (unsigned int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	if (started == count && !atomic_load(&crew->error))
		return 0;
	fprintf(stderr, "vfioboost: memory cannot be populated by %u threads\n", count);
	return -1;
}

/* ---- A run ---- */

static int run_way(struct bench *bench, enum way way, struct vfb_memory *memory)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct crew crew = {.touches = way == BY_TOUCH};

	if (complain(vfb_memory_info(memory, &info)))
		return -1;
	crew.address = info.address;
	crew.bytes = info.bytes;
	crew.page_bytes = info.page_bytes;
	if (way == BY_LIBRARY)
		return complain(vfb_memory_populate(memory));
	if (way == BY_MEMSET)
		return fill_seconds(info.address, info.bytes, bench->cpus) < 0 ? -1 : 0;
	return crew_populate(&crew, bench->cpus);
}

static int create(struct bench *bench, enum vfb_page_size page_size, struct vfb_memory **memory)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_ctx_opts ctx_opts = VFB_CTX_OPTS_INIT;
	int error = 0;

	*memory = NULL;
	ctx_opts.threads = bench->cpus;
	opts.bytes = bench->options.bytes;
	opts.page_size = page_size;
	opts.kind = bench->options.memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	if (!bench->ctx)
		error = vfb_ctx_create(&ctx_opts, &bench->ctx);
	return error ? error : vfb_memory_create(bench->ctx, &opts, memory);
}

/* With memory of its own. @stall: the thread beside it, or NULL. Returns the seconds. */
static double run_once(struct bench *bench, const struct line *line, struct stall *stall)
{
	struct vfb_memory *memory;
	double begin, seconds = -1;
	int error;

	error = complain(create(bench, line->page_size, &memory));
	if (!error && line->way == BY_MEMSET)
		error = complain(vfb_memory_populate(memory));
	if (!error && stall)
		error = stall_begin(stall);
	if (!error) {
		begin = clock_seconds();
		error = run_way(bench, line->way, memory);
		seconds = clock_seconds() - begin;
		if (stall)
			stall_end(stall);
	}
	vfb_memory_destroy(memory);
	return error ? -1 : seconds;
}

static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	const struct line *line = &bench->lines[number];
	struct stall stall;

	values[QUIET] = run_once(bench, line, NULL);
	if (values[QUIET] < 0)
		return -1;
	values[BESIDE] = run_once(bench, line, &stall);
	if (values[BESIDE] < 0)
		return -1;
	values[LONGEST] = stall.longest_s;
	values[MAPS] = stall.maps / values[BESIDE];
	return 0;
}

/* ---- Printing ---- */

static const struct column columns[] = {
	{"page_size", "pages", -5, 0, 0, NULL},
	{"way", "by", -9, 0, 0, NULL},
	{"quiet_bytes_per_s", "GiB/s", 8, 2, 1 / GIB, NULL},
	{"quiet_of_limit", "of limit", 9, 2, 0, NULL},
	{"beside_bytes_per_s", "beside", 8, 2, 1 / GIB, NULL},
	{"beside_of_quiet", "of quiet", 9, 2, 0, NULL},
	{"longest_wait_s", "longest wait", 13, 1, 1e3, " ms"},
	{"maps_per_s", "maps/s", 9, 0, 0, NULL},
};

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct rounds *rounds = &bench->rounds;
	const struct line *line = &bench->lines[number];
	double quiet = rounds_median(rounds, number, QUIET);
	double beside = rounds_median(rounds, number, BESIDE);
	double limit = rounds_median(rounds, number - line->way + BY_MEMSET, QUIET);

	*cells++ = json_object_new_string(page_size_name(line->page_size));
	*cells++ = json_object_new_string(way_names[line->way]);
	*cells++ = json_object_new_double(bench->options.bytes / quiet);
	*cells++ = json_object_new_double(limit / quiet);
	*cells++ = json_object_new_double(bench->options.bytes / beside);
	*cells++ = json_object_new_double(quiet / beside);
	*cells++ = json_object_new_double(rounds_longest(rounds, number, LONGEST));
	*cells++ = json_object_new_double(rounds_median(rounds, number, MAPS));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output, "%.2f GiB%s, Linux %s, %u CPUs, medians of %u\n\n",
		    options->bytes / GIB, options->memfd ? " of a memfd" : "", output_kernel(),
		    bench->cpus, options->repeat);
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	output_add(&output, "cpus", json_object_new_uint64(bench->cpus));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	return output_end(&output);
}

/* Prints why the host cannot give such pages now if they were asked for. */
static int add_lines(struct bench *bench, enum vfb_page_size page_size, bool asked)
{
	struct vfb_memory *memory;
	int error = create(bench, page_size, &memory);

	vfb_memory_destroy(memory);
	if (error)
		return asked ? complain(error) : 0;
	for (int way = 0; way < WAYS; way++)
		bench->lines[bench->line_count++] = (struct line){page_size, way};
	return 0;
}

int bench_beside(int argc, char **argv)
{
	static struct bench bench = {.options = {.bytes = UINT64_C(1) << 30, .repeat = 5}};
	const struct number_list *sizes = &bench.options.page_sizes;
	int status = EXIT_FAILED, error = 0;

	arguments_parse(&arguments, argc, argv, &bench.options);
	bench.cpus = fill_cpus();
	for (size_t i = 0; i < sizes->count && !error; i++)
		error = add_lines(&bench, sizes->all[i], true);
	for (int size = VFB_PAGE_BASE; size < PAGE_SIZES && !sizes->count; size++)
		add_lines(&bench, size, false);
	bench.rounds = (struct rounds){bench.line_count, VALUES, bench.options.repeat,
				       measure,		 &bench, NULL};
	if (!error && bench.line_count && !rounds_run(&bench.rounds, 0, bench.line_count))
		status = print(&bench);
	rounds_free(&bench.rounds);
	vfb_ctx_destroy(bench.ctx);
	return status;
}
