/* SPDX-License-Identifier: MIT */
/* vfioboost bench populate: memory of each page size, populated by each number of threads. */
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "contiguity.h"
#include "fill.h"
#include "output.h"
#include "progress.h"
#include "rounds.h"
#include "stall.h"
#include "table.h"

#define GIB 1073741824.0

#define PAGE_SIZES (VFB_PAGE_MIXED + 1)
#define MAX_LINES  (PAGE_SIZES * MAX_NUMBERS)

struct options {
	uint64_t bytes;
	bool memfd;
	/* None: all that the host has. */
	struct number_list page_sizes;
	struct number_list threads;
	unsigned int repeat;
	bool stalls, contiguity, json;
};

/* What is measured of a line. The memory that was populated is filled by as many threads as there
 * are CPUs: that is the limit. The longest wait of another thread meanwhile, and while nothing but
 * that filling takes its CPU. */
enum {
	POPULATE,
	FILL,
	STALL,
	FILL_STALL,
	VALUES,
};

/* A page size with a number of threads. */
struct line {
	enum vfb_page_size page_size;
	unsigned int threads;
	/* Of the last run. */
	struct vfb_contiguity contiguity;
};

struct bench {
	struct options options;
	struct line lines[MAX_LINES];
	struct rounds rounds;
};

static const char doc[] =
	"Populate memory, for each page size and number of threads, and compare with the limit of "
	"the machine: the same memory, already populated, written by memset() on every CPU."
	"\v"
	"The configurations take turns, after an unmeasured run of each: in a virtual machine, the "
	"first touch of memory is a cost of the hypervisor. Medians are printed.\n"
	"\n"
	"With --stalls another thread keeps mapping and unmapping a page, as the other threads of a "
	"VMM would, and its longest wait in all runs is printed. Beside it is its longest wait "
	"while memset() fills the memory without taking kernel locks: the time that it waits for a "
	"CPU. The thread itself uses some CPU time.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Size of the memory (1G)", FIELD(SIZE, bytes)},
	{"page-size", 'p', "4k|thp|2m|1g|mixed[,...]",
	 "Its pages (all that the host has available)", FIELD(CHOICES, page_sizes),
	 .names = page_size_names + VFB_PAGE_BASE, .low = VFB_PAGE_BASE},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd, which can be shared, not anonymous memory"),
	{"threads", 't', "N[,N]...", "Numbers of workers (1, and one per CPU)",
	 FIELD(NUMBERS, threads), .low = 1, .high = MAX_THREADS},
	ARGUMENT_REPEAT("Runs of each configuration (5)"),
	ARGUMENT_FLAG(stalls, "stalls", "Measure how long mmap() waits in another thread"),
	ARGUMENT_FLAG(contiguity, "contiguity",
		      "Count the physically contiguous runs of the memory (root)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench populate",
					   .doc = doc,
					   .all = option_list};

static int create(const struct options *options, const struct line *line, struct vfb_ctx **ctx,
		  struct vfb_memory **memory)
{
	struct vfb_ctx_opts ctx_opts = VFB_CTX_OPTS_INIT;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	int error;

	ctx_opts.threads = line->threads;
	opts.bytes = options->bytes;
	opts.page_size = line->page_size;
	opts.kind = options->memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	*memory = NULL;
	error = vfb_ctx_create(&ctx_opts, ctx);
	return error ? error : vfb_memory_create(*ctx, &opts, memory);
}

static int begin_stall(const struct options *options, struct stall *stall)
{
	return options->stalls ? stall_begin(stall) : 0;
}

static double end_stall(const struct options *options, struct stall *stall)
{
	return options->stalls ? stall_end(stall) : 0;
}

static int populate(const struct options *options, struct vfb_memory *memory, double *values)
{
	double begin = clock_seconds();
	struct stall stall;
	struct vfb_job *job;
	int error;

	if (begin_stall(options, &stall))
		return -1;
	error = complain(vfb_memory_populate_start(&memory, 1, &job));
	if (!error)
		error = progress_wait("populating", &job, 1);
	values[POPULATE] = clock_seconds() - begin;
	values[STALL] = end_stall(options, &stall);
	return error;
}

static int fill(const struct options *options, const struct vfb_memory_info *info, double *values)
{
	struct stall stall;

	if (begin_stall(options, &stall))
		return -1;
	values[FILL] = fill_seconds(info->address, info->bytes, fill_cpus());
	values[FILL_STALL] = end_stall(options, &stall);
	if (values[FILL] < 0)
		perror("vfioboost: cannot start the threads that fill memory");
	return values[FILL] < 0 ? -1 : 0;
}

static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	const struct options *options = &bench->options;
	struct line *line = &bench->lines[number];
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error;

	error = complain(create(options, line, &ctx, &memory));
	if (!error)
		error = populate(options, memory, values);
	if (!error)
		error = complain(vfb_memory_info(memory, &info));
	if (!error)
		error = fill(options, &info, values);
	if (!error && options->contiguity)
		error = complain(vfb_memory_contiguity(memory, 0, info.bytes, &line->contiguity));
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
	return error;
}

/* ---- Printing ---- */

static const struct column columns[] = {
	{"page_size", "pages", -5, 0, 0, NULL},
	{"threads", "threads", 8, 0, 0, NULL},
	{"populate_s", "seconds", 9, 3, 0, NULL},
	{"bytes_per_s", "GiB/s", 8, 2, 1 / GIB, NULL},
	{"limit_bytes_per_s", "limit", 8, 2, 1 / GIB, NULL},
	{"of_limit", "of limit", 9, 2, 0, NULL},
	{"longest_wait_s", "longest wait", 13, 1, 1e3, " ms"},
	{"longest_wait_of_memset_s", "of memset()", 12, 1, 1e3, " ms"},
	{"contiguity", NULL, 0, 0, 0, NULL},
};

static double rate(const struct options *options, double seconds)
{
	return seconds > 0 ? options->bytes / seconds : 0;
}

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct options *options = &bench->options;
	double seconds = rounds_median(&bench->rounds, number, POPULATE);
	double limit = rounds_median(&bench->rounds, number, FILL);

	*cells++ = json_object_new_string(page_size_name(bench->lines[number].page_size));
	*cells++ = json_object_new_int(bench->lines[number].threads);
	*cells++ = json_object_new_double(seconds);
	*cells++ = json_object_new_double(rate(options, seconds));
	*cells++ = json_object_new_double(rate(options, limit));
	*cells++ = json_object_new_double(limit / seconds);
	if (options->stalls) {
		cells[0] = json_object_new_double(rounds_longest(&bench->rounds, number, STALL));
		cells[1] = json_object_new_double(
			rounds_longest(&bench->rounds, number, FILL_STALL));
	}
	if (options->contiguity)
		cells[2] = contiguity_object(&bench->lines[number].contiguity);
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output, "%.2f GiB, Linux %s, medians of %u; limit: memset() on %u CPUs\n\n",
		    options->bytes / GIB, output_kernel(), options->repeat, fill_cpus());
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	output_add(&output, "limit_threads", json_object_new_uint64(fill_cpus()));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	for (size_t i = 0; options->contiguity && i < bench->rounds.line_count; i++) {
		output_text(&output, "\n%s, %u threads:\n",
			    page_size_name(bench->lines[i].page_size), bench->lines[i].threads);
		if (!options->json)
			contiguity_print(&bench->lines[i].contiguity);
	}
	return output_end(&output);
}

/* ---- The lines ---- */

/* Whether the host can give such pages now; prints why not when that was asked for. */
static bool is_available(const struct options *options, enum vfb_page_size page_size)
{
	const struct line line = {.page_size = page_size, .threads = 1};
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error;

	error = create(options, &line, &ctx, &memory);
	if (options->page_sizes.count)
		complain(error);
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
	return !error;
}

static size_t add_lines(const struct options *options, struct line *lines, size_t count,
			enum vfb_page_size page_size)
{
	for (size_t i = 0; i < options->threads.count; i++)
		lines[count++] = (struct line){
			.page_size = page_size,
			.threads = options->threads.all[i],
			.contiguity = VFB_CONTIGUITY_INIT,
		};
	return count;
}

/* How many there are; 0 when a page size that was asked for cannot be had. */
static size_t make_lines(const struct options *options, struct line *lines)
{
	const struct number_list *sizes = &options->page_sizes;
	size_t count = 0;

	for (size_t i = 0; i < sizes->count; i++) {
		if (!is_available(options, sizes->all[i]))
			return 0;
		count = add_lines(options, lines, count, sizes->all[i]);
	}
	for (int size = VFB_PAGE_BASE; size < PAGE_SIZES && !sizes->count; size++)
		if (is_available(options, size))
			count = add_lines(options, lines, count, size);
	return count;
}

int bench_populate(int argc, char **argv)
{
	static struct bench bench = {.options = {.bytes = UINT64_C(1) << 30, .repeat = 5}};
	struct rounds *rounds = &bench.rounds;
	struct number_list *threads = &bench.options.threads;
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	if (!threads->count) {
		threads->all[threads->count++] = 1;
		if (fill_cpus() > 1)
			threads->all[threads->count++] = fill_cpus();
	}
	*rounds = (struct rounds){make_lines(&bench.options, bench.lines),
				  VALUES,
				  bench.options.repeat,
				  measure,
				  &bench,
				  NULL};
	if (rounds->line_count && !rounds_run(rounds, 0, rounds->line_count))
		status = print(&bench);
	rounds_free(rounds);
	return status;
}
