/* SPDX-License-Identifier: MIT */
/* vfioboost bench give-back: blocks of mapped memory that are discarded and restored. */
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

#define MIB	  (UINT64_C(1) << 20)
#define GIB	  1073741824.0
#define MAX_LINES (4 * WAYS)

/* How the blocks are discarded and restored. */
enum way {
	/* All in one batch, in parallel. */
	BATCH,
	/* All in one batch, by one thread. */
	SERIAL,
	/* A call for each block, as virtio-mem does. */
	SINGLY,
	WAYS,
};

static const char *const way_names[WAYS] = {"batch", "one thread", "block by block"};

struct options {
	uint64_t bytes, block_bytes;
	const char *device;
	struct number_list page_sizes;
	enum vfb_backend backend;
	unsigned int repeat;
	bool memfd, json;
};

struct line {
	enum vfb_page_size page_size;
	enum way way;
};

/* What is measured of a line. */
enum {
	DISCARD,
	RESTORE,
	/* The longest call for a block, both directions. */
	LONGEST_DISCARD,
	LONGEST_RESTORE,
	VALUES,
};

struct bench {
	struct options options;
	struct line lines[MAX_LINES];
	struct rounds rounds;
	struct vfb_ctx *ctx;
	struct vfb_memory_range *parts;
	size_t count;
	enum vfb_backend backend;
};

static const char doc[] =
	"Discard every other block of memory that is mapped for a device, and restore it: in a "
	"batch by all threads, in a batch by one thread, and block by block."
	"\v"
	"The blocks are in random order. The ways take turns, after an unmeasured run of each. "
	"Medians are printed; of the longest call, the longest of all runs.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const char *const size_choices[] = {"4k", "thp", "2m", "1g", NULL};
static const char *const backend_choices[] = {"auto", "type1", "iommufd", NULL};

static const struct argument option_list[] = {
	ARGUMENT_DEVICE,
	{"memory", 'm', "SIZE", "Size of the memory (1G)", FIELD(SIZE, bytes)},
	{"block", 'B', "SIZE", "Size of a block (2M)", FIELD(SIZE, block_bytes)},
	{"page-size", 'p', "4k|thp|2m|1g[,...]", "Its pages (4k)", FIELD(CHOICES, page_sizes),
	 .names = size_choices, .low = VFB_PAGE_BASE},
	{"backend", 'b', "auto|type1|iommufd", "The kernel interface to use (auto)",
	 FIELD(CHOICE, backend), .names = backend_choices, .low = VFB_BACKEND_AUTO},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd"),
	ARGUMENT_REPEAT("Runs of each configuration (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

/* vfb_space_create() checks the size of a block. */
static void check_options(struct argp_state *state, void *data)
{
	struct options *options = data;

	if (!options->page_sizes.count)
		options->page_sizes = (struct number_list){{VFB_PAGE_BASE}, 1};
	if (!options->block_bytes || options->bytes / options->block_bytes < 2 ||
	    options->bytes % options->block_bytes)
		argp_error(state, "the memory must consist of at least two whole blocks");
}

static const struct arguments arguments = {.command = "vfioboost bench give-back",
					   .doc = doc,
					   .all = option_list,
					   .check = check_options};

/* ---- One round ---- */

typedef int part_call(struct vfb_memory *memory, struct vfb_memory_range *ranges, size_t count,
		      const struct vfb_batch_opts *opts);

static int call_all(const struct bench *bench, enum way way, struct vfb_memory *memory,
		    part_call *call, double *seconds, double *longest)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .width = way == SERIAL};
	size_t step = way == SINGLY ? 1 : bench->count;
	double begin = clock_seconds(), before = begin, now = begin;
	int error = 0;

	*longest = 0;
	for (size_t i = 0; i < bench->count && !error; i += step) {
		error = call(memory, &bench->parts[i], step, way == SINGLY ? NULL : &opts);
		now = clock_seconds();
		if (now - before > *longest)
			*longest = now - before;
		before = now;
	}
	*seconds = now - begin;
	return error;
}

static int measure_mapped(const struct bench *bench, const struct line *line,
			  struct vfb_memory *memory, struct vfb_space *space, double *values)
{
	struct vfb_range range = {.memory = memory,
				  .bytes = bench->options.bytes,
				  .flags = VFB_RANGE_ANY_IOVA};
	int error = vfb_space_map(space, &range, 1, NULL);

	if (!error)
		error = call_all(bench, line->way, memory, vfb_memory_discard, &values[DISCARD],
				 &values[LONGEST_DISCARD]);
	if (!error)
		error = call_all(bench, line->way, memory, vfb_memory_restore, &values[RESTORE],
				 &values[LONGEST_RESTORE]);
	return complain(error ?: vfb_space_unmap(space, &range, 1, NULL));
}

static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	const struct line *line = &bench->lines[number];
	struct vfb_memory_opts opts = {
		.size = sizeof(opts),
		.bytes = bench->options.bytes,
		.page_size = line->page_size,
		.kind = bench->options.memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS,
	};
	struct vfb_space_opts space_opts = {.size = sizeof(space_opts),
					    .backend = bench->options.backend,
					    .block_bytes = bench->options.block_bytes};
	struct mapped mapped;
	int error = complain(
		mapped_open(&mapped, bench->ctx, &opts, &space_opts, bench->options.device));

	if (!error) {
		error = measure_mapped(bench, line, mapped.memory, mapped.space, values);
		bench->backend = mapped_backend(&mapped);
	}
	mapped_close(&mapped);
	return error;
}

/* ---- All of them ---- */

/* Every other block, in an order that is random. */
static int make_parts(struct bench *bench)
{
	uint64_t block = bench->options.block_bytes;
	uint64_t *offsets;

	bench->count = bench->options.bytes / block / 2;
	offsets = shuffle_offsets(bench->count, 2 * block);
	bench->parts = calloc(bench->count, sizeof(*bench->parts));
	if (offsets && !bench->parts)
		perror("vfioboost");
	for (size_t i = 0; i < bench->count && offsets && bench->parts; i++)
		bench->parts[i] = (struct vfb_memory_range){.offset = offsets[i], .bytes = block};
	free(offsets);
	return offsets && bench->parts ? 0 : -1;
}

static void make_lines(struct bench *bench)
{
	const struct number_list *sizes = &bench->options.page_sizes;

	for (size_t i = 0; i < sizes->count; i++)
		for (enum way way = 0; way < WAYS; way++)
			bench->lines[bench->rounds.line_count++] = (struct line){sizes->all[i],
										 way};
}

static int run(struct bench *bench)
{
	int error = make_parts(bench);

	if (!error)
		error = complain(vfb_ctx_create(NULL, &bench->ctx));
	if (error)
		return error;
	make_lines(bench);
	error = rounds_run(&bench->rounds, 0, bench->rounds.line_count);
	vfb_ctx_destroy(bench->ctx);
	return error;
}

static const struct column columns[] = {
	{"page_size", "pages", -5, 0, 0, NULL},
	{"way", "way", -14, 0, 0, NULL},
	{"discard_s", "discard", 10, 4, 0, " s"},
	{"restore_s", "restore", 10, 4, 0, " s"},
	{"bytes_per_s", "both", 7, 2, 1 / GIB, " GiB/s"},
	{"longest_discard_s", "longest: discard", 16, 1, 1e6, " us"},
	{"longest_restore_s", "restore", 10, 1, 1e6, " us"},
	{"ratio", "of one thread", 13, 2, 0, NULL},
};

static double both(const struct bench *bench, size_t line)
{
	return rounds_median(&bench->rounds, line, DISCARD) +
	       rounds_median(&bench->rounds, line, RESTORE);
}

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct line *line = &bench->lines[number];
	const struct rounds *rounds = &bench->rounds;
	double bytes = (double)bench->count * bench->options.block_bytes;

	cells[0] = json_object_new_string(page_size_name(line->page_size));
	cells[1] = json_object_new_string(way_names[line->way]);
	cells[2] = json_object_new_double(rounds_median(rounds, number, DISCARD));
	cells[3] = json_object_new_double(rounds_median(rounds, number, RESTORE));
	cells[4] = json_object_new_double(bytes / both(bench, number));
	if (line->way == SINGLY) {
		cells[5] = json_object_new_double(rounds_longest(rounds, number, LONGEST_DISCARD));
		cells[6] = json_object_new_double(rounds_longest(rounds, number, LONGEST_RESTORE));
	}
	cells[7] = json_object_new_double(both(bench, number) /
					  both(bench, number - line->way + SERIAL));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output,
		    "%zu of %ju blocks of %ju MiB, mapped for %s by %s, Linux %s, medians of %u "
		    "runs\n\n",
		    bench->count, (uintmax_t)(options->bytes / options->block_bytes),
		    (uintmax_t)(options->block_bytes / MIB), options->device,
		    backend_names[bench->backend], output_kernel(), options->repeat);
	output_add(&output, "device", json_object_new_string(options->device));
	output_add(&output, "backend", json_object_new_string(backend_names[bench->backend]));
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "block_bytes", json_object_new_uint64(options->block_bytes));
	output_add(&output, "blocks", json_object_new_uint64(bench->count));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	return output_end(&output);
}

int bench_give_back(int argc, char **argv)
{
	static struct bench bench = {
		.options = {.bytes = 1024 * MIB, .block_bytes = 2 * MIB, .repeat = 5}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	bench.rounds = (struct rounds){0, VALUES, bench.options.repeat, measure, &bench, NULL};
	if (!run(&bench))
		status = print(&bench);
	free(bench.parts);
	rounds_free(&bench.rounds);
	return status;
}
