/* SPDX-License-Identifier: MIT */
/* vfioboost bench on-demand: requests to memory that is mapped when they begin, or statically. */
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "mapped.h"
#include "output.h"
#include "rounds.h"
#include "shuffle.h"
#include "table.h"

#define MIB (UINT64_C(1) << 20)

/* Windows, in the order of their names. */
static const char *const window_choices[] = {"4k", "16k", "64k", "256k", "1m", "2m", NULL};
static const uint32_t window_sizes[] = {4096, 16384, 65536, 262144, 1048576, 2097152};

#define MAX_LINES (1 + sizeof(window_sizes) / sizeof(window_sizes[0]))

struct options {
	uint64_t bytes, request_bytes;
	const char *device;
	struct number_list windows;
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	unsigned int requests, passes, repeat;
	bool memfd, json;
};

/* What is measured of a line. */
enum {
	/* Creating the range, and the passes. */
	START,
	FIRST,
	LAST,
	MAPPED,
	VALUES,
};

struct bench {
	struct options options;
	/* 0: static. */
	uint32_t lines[MAX_LINES];
	struct rounds rounds;
	struct vfb_ctx *ctx;
	/* Where the requests begin. */
	uint64_t *offsets;
	enum vfb_backend backend;
};

static const char doc[] =
	"Measure what requests to memory for a device cost when it is mapped on demand, in windows, "
	"beside memory that is mapped statically: the start, the first pass over all requests, and "
	"the last pass."
	"\v"
	"A request holds its part of the memory (vfb_space_hold()) and ends the hold; no data is "
	"transferred. The requests are at random places, the same in each pass. The lines take "
	"turns, after an unmeasured run of each; medians are printed. Windows of 4k take a mapping "
	"for each page: type1 allows 65535.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const char *const size_choices[] = {"4k", "thp", "2m", "1g", NULL};
static const char *const backend_choices[] = {"auto", "type1", "iommufd", NULL};

static const struct argument option_list[] = {
	ARGUMENT_DEVICE,
	{"memory", 'm', "SIZE", "Size of the memory (4G)", FIELD(SIZE, bytes)},
	{"request", 'R', "SIZE", "Size of a request (1M)", FIELD(SIZE, request_bytes)},
	{"requests", 'n', "N", "Requests of a pass (512)", FIELD(NUMBER, requests), .low = 1,
	 .high = 1000000},
	{"passes", 'P', "N", "Passes (100)", FIELD(NUMBER, passes), .low = 2, .high = 1000000},
	{"window", 'w', "4k|16k|64k|256k|1m|2m[,...]", "Sizes of the windows (a base page and 2m)",
	 FIELD(CHOICES, windows), .names = window_choices, .low = 0},
	{"page-size", 'p', "4k|thp|2m|1g", "Pages of the memory (4k)", FIELD(CHOICE, page_size),
	 .names = size_choices, .low = VFB_PAGE_BASE},
	{"backend", 'b', "auto|type1|iommufd", "The kernel interface to use (auto)",
	 FIELD(CHOICE, backend), .names = backend_choices, .low = VFB_BACKEND_AUTO},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd"),
	ARGUMENT_REPEAT("Runs of each configuration (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

/* The first one that is not smaller than a base page. */
static unsigned int smallest_window(void)
{
	unsigned int i = 0;

	while (window_sizes[i] < base_page_bytes())
		i++;
	return i;
}

/* vfb_space_map() checks the windows against the memory. */
static void check_options(struct argp_state *state, void *data)
{
	struct options *options = data;

	if (!options->windows.count)
		options->windows = (struct number_list){{smallest_window(), 5}, 2};
	if (!options->request_bytes || options->bytes < options->request_bytes ||
	    options->bytes / options->request_bytes < options->requests)
		argp_error(state, "the memory must have room for all requests of a pass");
}

static const struct arguments arguments = {.command = "vfioboost bench on-demand",
					   .doc = doc,
					   .all = option_list,
					   .check = check_options};

/* ---- One round ---- */

static int make_pass(const struct bench *bench, struct vfb_space *space, uint64_t iova,
		     double *seconds)
{
	uint64_t bytes = bench->options.request_bytes;
	double begin = clock_seconds();
	int error = 0;

	for (unsigned int i = 0; i < bench->options.requests && !error; i++) {
		error = vfb_space_hold(space, iova + bench->offsets[i], bytes);
		if (!error)
			error = vfb_space_unhold(space, iova + bench->offsets[i], bytes);
	}
	*seconds = clock_seconds() - begin;
	return error;
}

static int measure_requests(const struct bench *bench, uint32_t window, struct vfb_memory *memory,
			    struct vfb_space *space, double *values)
{
	struct vfb_range range = {.memory = memory,
				  .bytes = bench->options.bytes,
				  .flags = VFB_RANGE_ANY_IOVA | VFB_RANGE_ON_DEMAND,
				  .window_bytes = window};
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;
	double begin = clock_seconds();
	int error = vfb_space_map(space, &range, 1, NULL);

	values[START] = clock_seconds() - begin;
	if (!error)
		error = make_pass(bench, space, range.iova, &values[FIRST]);
	for (unsigned int i = 1; i < bench->options.passes && !error; i++)
		error = make_pass(bench, space, range.iova, &values[LAST]);
	if (!error)
		error = vfb_space_info(space, &info);
	values[MAPPED] = info.mapped_bytes;
	return complain(error ?: vfb_space_unmap(space, &range, 1, NULL));
}

static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	uint32_t window = bench->lines[number];
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = bench->options.bytes,
		.page_size = bench->options.page_size,
		.kind = bench->options.memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS,
	};
	struct vfb_space_opts space_opts = {
		.size = sizeof(space_opts),
		.backend = bench->options.backend,
		.on_demand = window ? VFB_ON_DEMAND_TOUCH : VFB_ON_DEMAND_STATIC,
	};
	struct mapped mapped;
	int error = complain(
		mapped_open(&mapped, bench->ctx, &opts, &space_opts, bench->options.device));

	if (!error) {
		error = measure_requests(bench, window, mapped.memory, mapped.space, values);
		bench->backend = mapped_backend(&mapped);
	}
	mapped_close(&mapped);
	return error;
}

/* ---- All of them ---- */

static int run(struct bench *bench)
{
	const struct options *options = &bench->options;
	int error;

	/* Different places. */
	bench->offsets = shuffle_offsets(options->bytes / options->request_bytes,
					 options->request_bytes);
	if (!bench->offsets)
		return -1;
	error = complain(vfb_ctx_create(NULL, &bench->ctx));
	if (error)
		return error;
	bench->rounds.line_count = 1 + bench->options.windows.count;
	for (size_t i = 0; i < bench->options.windows.count; i++)
		bench->lines[1 + i] = window_sizes[bench->options.windows.all[i]];
	error = rounds_run(&bench->rounds, 0, bench->rounds.line_count);
	vfb_ctx_destroy(bench->ctx);
	return error;
}

static const struct column columns[] = {
	{"way", "way", -7, 0, 0, NULL},
	{"window_bytes", "window", 8, 0, 1 / 1024.0, " KiB"},
	{"start_s", "start", 10, 4, 0, " s"},
	{"first_pass_s", "first pass", 12, 4, 0, " s"},
	{"last_pass_s", "last pass", 13, 6, 0, " s"},
	{"mapped_bytes", "mapped", 8, 0, 1.0 / (1 << 20), " MiB"},
	{"ratio", "start + first, of static", 25, 3, 0, NULL},
	{"last_ratio", "last, of static", 16, 2, 0, NULL},
};

static double until_first(const struct bench *bench, size_t line)
{
	return rounds_median(&bench->rounds, line, START) +
	       rounds_median(&bench->rounds, line, FIRST);
}

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct rounds *rounds = &bench->rounds;

	cells[0] = json_object_new_string(bench->lines[number] ? "touch" : "static");
	if (bench->lines[number])
		cells[1] = json_object_new_uint64(bench->lines[number]);
	cells[2] = json_object_new_double(rounds_median(rounds, number, START));
	cells[3] = json_object_new_double(rounds_median(rounds, number, FIRST));
	cells[4] = json_object_new_double(rounds_median(rounds, number, LAST));
	cells[5] = json_object_new_double(rounds_median(rounds, number, MAPPED));
	cells[6] = json_object_new_double(until_first(bench, number) / until_first(bench, 0));
	cells[7] = json_object_new_double(rounds_median(rounds, number, LAST) /
					  rounds_median(rounds, 0, LAST));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output,
		    "%u passes of %u requests of %ju KiB over %ju MiB, mapped for %s by %s, Linux "
		    "%s, medians of %u runs\n\n",
		    options->passes, options->requests, (uintmax_t)(options->request_bytes / 1024),
		    (uintmax_t)(options->bytes / MIB), options->device,
		    backend_names[bench->backend], output_kernel(), options->repeat);
	output_add(&output, "device", json_object_new_string(options->device));
	output_add(&output, "backend", json_object_new_string(backend_names[bench->backend]));
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "request_bytes", json_object_new_uint64(options->request_bytes));
	output_add(&output, "requests", json_object_new_uint64(options->requests));
	output_add(&output, "passes", json_object_new_uint64(options->passes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	return output_end(&output);
}

int bench_on_demand(int argc, char **argv)
{
	static struct bench bench = {.options = {.bytes = 4096 * MIB,
						 .request_bytes = MIB,
						 .page_size = VFB_PAGE_BASE,
						 .requests = 512,
						 .passes = 100,
						 .repeat = 5}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	bench.rounds = (struct rounds){0, VALUES, bench.options.repeat, measure, &bench, NULL};
	if (!run(&bench))
		status = print(&bench);
	free(bench.offsets);
	rounds_free(&bench.rounds);
	return status;
}
