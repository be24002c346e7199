/* SPDX-License-Identifier: MIT */
/* vfioboost bench growth: what ranges cost as their number grows, in a space without an IOMMU. */
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "table.h"

#define PAGE base_page_bytes()

#define MAX_RANGES 1000000
/* One map is measured beside so few ranges, and beside all but so many. */
#define FEW 100
/* How many maps, one after another, are measured. */
#define SINGLE 64

struct options {
	unsigned int ranges, repeat;
	bool json;
};

/* The lines. */
enum {
	FIXED,
	ANYWHERE,
	LINES,
};

static const char *const line_names[LINES] = {"fixed", "anywhere"};

/* What is measured of each: a batch of all ranges; one range at a time beside few, and beside
 * many. */
enum {
	BATCH,
	BATCH_UNMAP,
	FEW_MAP,
	FEW_UNMAP,
	MANY_MAP,
	MANY_UNMAP,
	VALUES,
};

struct bench {
	struct options options;
	struct vfb_ctx *ctx;
	struct vfb_memory *memory;
	struct vfb_range *ranges;
	struct rounds rounds;
};

static const char doc[] =
	"Map and unmap many pages, in one batch and one after another, at given IOVAs and at any: "
	"how the cost of one grows with the number of mapped pages. It needs no hardware, since "
	"the space has no IOMMU."
	"\v"
	"The two take turns, after an unmeasured run of each. Medians are printed.\n"
	"\n" DOC_EXIT;

static const struct argument option_list[] = {
	{"ranges", 'n', "N", "Ranges in the batch (60000)", FIELD(NUMBER, ranges), .low = 2 * FEW,
	 .high = MAX_RANGES},
	ARGUMENT_REPEAT("Runs of each (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench growth",
					   .doc = doc,
					   .all = option_list};

/* In memory they stand in the other direction than in the space, so that none can be joined. */
static void set_ranges(struct bench *bench, size_t line)
{
	size_t count = bench->options.ranges;

	for (size_t i = 0; i < count; i++)
		bench->ranges[i] = (struct vfb_range){
			.memory = bench->memory,
			.offset = (count - 1 - i) * PAGE,
			.bytes = PAGE,
			.iova = line == FIXED ? 2 * i * PAGE : 0,
			.flags = line == FIXED ? 0 : VFB_RANGE_ANY_IOVA,
		};
}

/* Maps ranges from @first on, one after another, and unmaps them. */
static int map_singly(struct bench *bench, struct vfb_space *space, size_t first, double *values)
{
	double begin = clock_seconds();
	int error = 0;

	for (size_t i = first; i < first + SINGLE && !error; i++)
		error = vfb_space_map(space, &bench->ranges[i], 1, NULL);
	values[0] = (clock_seconds() - begin) / SINGLE;
	begin = clock_seconds();
	for (size_t i = first; i < first + SINGLE && !error; i++)
		error = vfb_space_unmap(space, &bench->ranges[i], 1, NULL);
	values[1] = (clock_seconds() - begin) / SINGLE;
	return error;
}

/* The batch before has filled the caches with other things: once without counting it. */
static int measure_single(struct bench *bench, struct vfb_space *space, size_t first,
			  double *values)
{
	return map_singly(bench, space, first, values) ?: map_singly(bench, space, first, values);
}

/* Few of the ranges are mapped, one is measured, the rest follows, and one is measured again. */
static int measure_all(struct bench *bench, struct vfb_space *space, double *values)
{
	struct vfb_range *ranges = bench->ranges;
	size_t count = bench->options.ranges, most = count - SINGLE;
	double begin = clock_seconds();
	int error;

	error = vfb_space_map(space, ranges, count, NULL);
	values[BATCH] = clock_seconds() - begin;
	begin = clock_seconds();
	if (!error)
		error = vfb_space_unmap(space, ranges, count, NULL);
	values[BATCH_UNMAP] = clock_seconds() - begin;
	if (!error)
		error = vfb_space_map(space, ranges, FEW, NULL);
	if (!error)
		error = measure_single(bench, space, most, &values[FEW_MAP]);
	if (!error)
		error = vfb_space_map(space, ranges + FEW, most - FEW, NULL);
	if (!error)
		error = measure_single(bench, space, most, &values[MANY_MAP]);
	if (!error)
		error = vfb_space_unmap(space, ranges, most, NULL);
	return error;
}

static int measure(void *data, size_t line, double *values)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_NONE};
	struct vfb_space *space = NULL;
	struct bench *bench = data;
	int error;

	set_ranges(bench, line);
	error = vfb_space_create(bench->ctx, &opts, &space);
	if (!error)
		error = measure_all(bench, space, values);
	complain(error);
	vfb_space_destroy(space);
	return error;
}

static int create(struct bench *bench)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	int error;

	bench->ranges = calloc(bench->options.ranges, sizeof(*bench->ranges));
	if (!bench->ranges) {
		perror("vfioboost");
		return -1;
	}
	opts.bytes = bench->options.ranges * PAGE;
	opts.page_size = VFB_PAGE_BASE;
	error = vfb_ctx_create(NULL, &bench->ctx);
	if (!error)
		error = vfb_memory_create(bench->ctx, &opts, &bench->memory);
	if (!error)
		error = vfb_memory_populate(bench->memory);
	return complain(error);
}

static const struct column columns[] = {
	{"iova", "IOVAs", -8, 0, 0, NULL},
	{"batch_map_s", "batch: map", 11, 4, 0, " s"},
	{"batch_unmap_s", "unmap", 8, 4, 0, " s"},
	{"few_map_s", "one of few: map", 16, 2, 1e6, " us"},
	{"few_unmap_s", "unmap", 10, 2, 1e6, " us"},
	{"many_map_s", "one of many: map", 17, 2, 1e6, " us"},
	{"many_unmap_s", "unmap", 10, 2, 1e6, " us"},
};

static void fill_cells(const void *data, size_t line, struct json_object **cells)
{
	const struct bench *bench = data;

	*cells++ = json_object_new_string(line_names[line]);
	for (size_t i = 0; i < VALUES; i++)
		*cells++ = json_object_new_double(rounds_median(&bench->rounds, line, i));
}

static void print_ratio(struct output *output, const char *key, const char *text, double ratio)
{
	output_text(output, "%s: %.2f\n", text, ratio);
	output_add(output, key, json_object_new_double(ratio));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	const struct rounds *rounds = &bench->rounds;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output, "%u ranges of %ju KiB, few: %d, Linux %s, medians of %u\n\n",
		    options->ranges, (uintmax_t)PAGE >> 10, FEW, output_kernel(), options->repeat);
	output_add(&output, "ranges", json_object_new_int(options->ranges));
	output_add(&output, "few", json_object_new_int(FEW));
	output_add(&output, "repeat", json_object_new_int(options->repeat));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]), LINES,
		    fill_cells, bench);
	output_text(&output, "\n");
	print_ratio(&output, "anywhere_by_fixed", "batch, anywhere / fixed",
		    rounds_median(rounds, ANYWHERE, BATCH) / rounds_median(rounds, FIXED, BATCH));
	print_ratio(&output, "many_by_few", "one map, of many / of few",
		    rounds_median(rounds, FIXED, MANY_MAP) / rounds_median(rounds, FIXED, FEW_MAP));
	print_ratio(&output, "anywhere_many_by_few", "one map anywhere, of many / of few",
		    rounds_median(rounds, ANYWHERE, MANY_MAP) /
			    rounds_median(rounds, ANYWHERE, FEW_MAP));
	return output_end(&output);
}

int bench_growth(int argc, char **argv)
{
	static struct bench bench = {.options = {.ranges = 60000, .repeat = 5}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	bench.rounds = (struct rounds){LINES, VALUES, bench.options.repeat, measure, &bench, NULL};
	if (!create(&bench) && !rounds_run(&bench.rounds, 0, LINES))
		status = print(&bench);
	vfb_memory_destroy(bench.memory);
	vfb_ctx_destroy(bench.ctx);
	free(bench.ranges);
	rounds_free(&bench.rounds);
	return status;
}
