/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "contiguity.h"
#include "fill.h"
#include "output.h"
#include "progress.h"
#include "stall.h"
#include "statistics.h"

#define GIB 1073741824.0

#define PAGE_SIZES (VFB_PAGE_MIXED + 1)

struct options {
	uint64_t bytes;
	enum vfb_memory_kind kind;
	bool wanted[PAGE_SIZES], all_sizes;
	struct thread_counts threads;
	unsigned int repeat;
	bool stalls, contiguity, json;
};

/* A page size with a number of threads: a line of the table. */
struct line {
	enum vfb_page_size page_size;
	unsigned int threads;
	/* One for each run; the memory that was populated is filled by as many threads as there
	 * are CPUs, that is the limit. The longest wait of another thread meanwhile, and while
	 * nothing but that filling takes its CPU. */
	double *populate_s, *fill_s, *stall_s, *fill_stall_s;
	/* Of the last run. */
	struct vfb_contiguity *contiguity;
};

static const char doc[] =
	"Populate memory, for each page size with each number of threads, and compare with the "
	"machine's limit: the same memory, populated, written by memset() on every CPU."
	"\v"
	"The lines take turns, and each is run once beforehand, uncounted: the first touch of "
	"memory in a virtual machine is the hypervisor's cost. Medians are printed.\n"
	"\n"
	"With --stalls another thread maps and unmaps a page all the while, as the other threads "
	"of a VMM would, and its longest wait of all runs is printed; and beside it that while "
	"memset() fills the memory, which takes no lock of the kernel: so long it has to wait for "
	"a CPU. It takes time from one itself.\n"
	"\n"
	"Sizes are bytes, or have K, M, G or T (powers of 1024) behind them.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

enum {
	OPTION_MEMFD = OPTION_OWN,
	OPTION_STALLS,
	OPTION_CONTIGUITY,
};

static const struct argp_option argp_options[] = {
	{"memory", 'm', "SIZE", 0, "How much memory (1G)", 0},
	{"page-size", 'p', "SIZE[,SIZE]...", 0,
	 "4k, thp, 2m, 1g, mixed (all that the host can give now)", 0},
	{"memfd", OPTION_MEMFD, NULL, 0, "Memory that can be shared, instead of anonymous", 0},
	{"threads", 't', "N[,N]...", 0, "Numbers of workers (1, and one for each CPU)", 0},
	{"repeat", 'r', "N", 0, "Runs of each line (5)", 0},
	{"stalls", OPTION_STALLS, NULL, 0, "Measure how long mmap() waits in another thread", 0},
	{"contiguity", OPTION_CONTIGUITY, NULL, 0,
	 "Show in how many physical runs the memory lies (root)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static void add_page_sizes(struct argp_state *state, struct options *options, char *text)
{
	char *rest = NULL;

	for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
		options->wanted[VFB_PAGE_4K + argument_choice(state, "page-size", name,
							      page_size_names + VFB_PAGE_4K)] =
			true;
	options->all_sizes = false;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'm':
		options->bytes = argument_size(state, "memory", arg);
		return 0;
	case 'p':
		add_page_sizes(state, options, arg);
		return 0;
	case OPTION_MEMFD:
		options->kind = VFB_MEMORY_MEMFD;
		return 0;
	case 't':
		argument_threads(state, &options->threads, arg);
		return 0;
	case OPTION_STALLS:
		options->stalls = true;
		return 0;
	case OPTION_CONTIGUITY:
		options->contiguity = true;
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

static unsigned int count_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);
}

static int create(const struct options *options, const struct line *line, struct vfb_ctx **ctx,
		  struct vfb_memory **memory)
{
	struct vfb_ctx_opts ctx_opts = VFB_CTX_OPTS_INIT;
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	int error;

	ctx_opts.threads = line->threads;
	opts.bytes = options->bytes;
	opts.page_size = line->page_size;
	opts.kind = options->kind;
	*memory = NULL;
	error = vfb_ctx_create(&ctx_opts, ctx);
	return error ? error : vfb_memory_create(*ctx, &opts, memory);
}

static int populate(const struct options *options, const struct line *line,
		    struct vfb_memory *memory, unsigned int run)
{
	double begin = clock_seconds();
	struct stall stall;
	struct vfb_job *job;
	int error;

	if (options->stalls && stall_begin(&stall)) {
		perror("vfioboost: cannot start a thread");
		return -1;
	}
	error = complain(vfb_memory_populate_start(&memory, 1, &job));
	if (!error)
		error = progress_wait("populating", &job, 1);
	line->populate_s[run] = clock_seconds() - begin;
	if (options->stalls)
		line->stall_s[run] = stall_end(&stall);
	return error;
}

static int fill(const struct options *options, const struct line *line,
		const struct vfb_memory_info *info, unsigned int run)
{
	struct stall stall;

	if (options->stalls && stall_begin(&stall)) {
		perror("vfioboost: cannot start a thread");
		return -1;
	}
	line->fill_s[run] = fill_seconds(info->address, info->bytes, count_cpus());
	if (options->stalls)
		line->fill_stall_s[run] = stall_end(&stall);
	if (line->fill_s[run] < 0)
		perror("vfioboost: cannot start the threads that fill memory");
	return line->fill_s[run] < 0 ? -1 : 0;
}

static int run_line(const struct options *options, const struct line *line, unsigned int run)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error;

	error = complain(create(options, line, &ctx, &memory));
	if (!error)
		error = populate(options, line, memory, run);
	if (!error) {
		vfb_memory_info(memory, &info);
		error = fill(options, line, &info, run);
	}
	if (!error && options->contiguity)
		error = complain(vfb_memory_contiguity(memory, 0, info.bytes, line->contiguity));
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
	return error;
}

static int run_all(const struct options *options, const struct line *lines, size_t count)
{
	/* Run 0 comes twice: the first time to warm up. */
	for (unsigned int run = 0; run <= options->repeat; run++)
		for (size_t i = 0; i < count; i++) {
			int error = run_line(options, &lines[i], run ? run - 1 : 0);

			if (error)
				return error;
		}
	return 0;
}

static double rate(const struct options *options, double seconds)
{
	return seconds > 0 ? options->bytes / seconds : 0;
}

static double longest(const double *values, unsigned int count)
{
	double result = 0;

	for (unsigned int i = 0; i < count; i++)
		if (values[i] > result)
			result = values[i];
	return result;
}

static bool print_table(const struct options *options, const struct line *lines, size_t count)
{
	struct utsname kernel;

	uname(&kernel);
	printf("%.2f GiB, Linux %s, medians of %u; limit: memset() on %u CPUs\n\n",
	       options->bytes / GIB, kernel.release, options->repeat, count_cpus());
	printf("%-5s %8s %9s %8s %8s %9s%s\n", "pages", "threads", "seconds", "GiB/s", "limit",
	       "of limit", options->stalls ? "  longest wait (memset)" : "");
	for (size_t i = 0; i < count; i++) {
		double seconds = median(lines[i].populate_s, options->repeat);
		double fill = median(lines[i].fill_s, options->repeat);

		printf("%-5s %8u %9.3f %8.2f %8.2f %9.2f", page_size_names[lines[i].page_size],
		       lines[i].threads, seconds, rate(options, seconds) / GIB,
		       rate(options, fill) / GIB, fill / seconds);
		if (options->stalls)
			printf("  %9.1f ms (%.1f ms)",
			       1e3 * longest(lines[i].stall_s, options->repeat),
			       1e3 * longest(lines[i].fill_stall_s, options->repeat));
		printf("\n");
	}
	for (size_t i = 0; options->contiguity && i < count; i++) {
		printf("\n%s, %u threads:\n", page_size_names[lines[i].page_size],
		       lines[i].threads);
		contiguity_print(lines[i].contiguity);
	}
	return output_flush();
}

static void add_waits(const struct options *options, const struct line *line,
		      struct json_object *result)
{
	json_object_object_add(result, "longest_wait_s",
			       json_object_new_double(longest(line->stall_s, options->repeat)));
	json_object_object_add(result, "longest_wait_of_memset_s",
			       json_object_new_double(
				       longest(line->fill_stall_s, options->repeat)));
}

static bool print_json(const struct options *options, const struct line *lines, size_t count)
{
	struct json_object *object = output_object(), *results = json_object_new_array();

	json_object_object_add(object, "memory_bytes", json_object_new_uint64(options->bytes));
	json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
	json_object_object_add(object, "limit_threads", json_object_new_int(count_cpus()));
	for (size_t i = 0; i < count; i++) {
		struct json_object *result = json_object_new_object();
		double seconds = median(lines[i].populate_s, options->repeat);
		double fill = median(lines[i].fill_s, options->repeat);

		json_object_object_add(result, "page_size",
				       json_object_new_string(page_size_names[lines[i].page_size]));
		json_object_object_add(result, "threads", json_object_new_int(lines[i].threads));
		json_object_object_add(result, "populate_s", json_object_new_double(seconds));
		json_object_object_add(result, "bytes_per_s",
				       json_object_new_double(rate(options, seconds)));
		json_object_object_add(result, "limit_bytes_per_s",
				       json_object_new_double(rate(options, fill)));
		json_object_object_add(result, "of_limit", json_object_new_double(fill / seconds));
		if (options->stalls)
			add_waits(options, &lines[i], result);
		if (options->contiguity)
			json_object_object_add(result, "contiguity",
					       contiguity_object(lines[i].contiguity));
		json_object_array_add(results, result);
	}
	json_object_object_add(object, "results", results);
	return output_json(object);
}

/* Whether the host can give such pages now; says why not when that was asked for. */
static bool is_available(const struct options *options, enum vfb_page_size page_size)
{
	const struct line line = {.page_size = page_size, .threads = 1};
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error;

	error = create(options, &line, &ctx, &memory);
	if (error && !options->all_sizes)
		complain(error);
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
	return !error;
}

/* How many lines there are; 0 when a page size that was asked for cannot be had. */
static size_t make_lines(const struct options *options, struct line *lines)
{
	size_t count = 0;

	for (int size = VFB_PAGE_4K; size < PAGE_SIZES; size++) {
		if (!options->wanted[size] && !options->all_sizes)
			continue;
		if (!is_available(options, size)) {
			if (!options->all_sizes)
				return 0;
			continue;
		}
		for (size_t i = 0; i < options->threads.count; i++)
			lines[count++] = (struct line){
				.page_size = size,
				.threads = options->threads.all[i],
			};
	}
	return count;
}

/* Room for the times of all runs. */
static double *give_room(const struct options *options, struct line *lines, size_t count)
{
	double *times = calloc(4 * count * options->repeat, sizeof(*times));

	for (size_t i = 0; times && i < count; i++) {
		lines[i].populate_s = times + 4 * i * options->repeat;
		lines[i].fill_s = lines[i].populate_s + options->repeat;
		lines[i].stall_s = lines[i].fill_s + options->repeat;
		lines[i].fill_stall_s = lines[i].stall_s + options->repeat;
	}
	return times;
}

int bench_populate(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost bench populate";
	struct options options = {.bytes = UINT64_C(1) << 30, .repeat = 5, .all_sizes = true};
	struct vfb_contiguity contiguity[PAGE_SIZES * MAX_THREAD_COUNTS];
	struct line lines[PAGE_SIZES * MAX_THREAD_COUNTS];
	bool written = false;
	double *times;
	size_t count;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (!options.threads.count) {
		options.threads.all[options.threads.count++] = 1;
		if (count_cpus() > 1)
			options.threads.all[options.threads.count++] = count_cpus();
	}
	count = make_lines(&options, lines);
	if (!count)
		return EXIT_FAILED;
	for (size_t i = 0; i < count; i++) {
		contiguity[i] = (struct vfb_contiguity)VFB_CONTIGUITY_INIT;
		lines[i].contiguity = &contiguity[i];
	}
	times = give_room(&options, lines, count);
	if (!times || run_all(&options, lines, count)) {
		free(times);
		return EXIT_FAILED;
	}
	written = options.json ? print_json(&options, lines, count) :
				 print_table(&options, lines, count);
	if (!written)
		perror("vfioboost: cannot write the results");
	free(times);
	return written ? EXIT_OK : EXIT_FAILED;
}
