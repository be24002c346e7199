/* SPDX-License-Identifier: MIT */
/* vfioboost bench map: memory mapped by each backend with each number of threads, and unmapped. */
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "bench_small.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "table.h"

#define GIB 1073741824.0

/* Of 4 page sizes, 3 backends, by file and by address, and with one call. */
#define MAX_LINES (4 * 3 * (2 * MAX_NUMBERS + 1))

struct options {
	uint64_t bytes, beside;
	const char *device;
	struct number_list page_sizes, backends, threads;
	unsigned int repeat;
	bool memfd, cold, estimate, small, json;
};

struct line {
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	enum vfb_map_by by;
	unsigned int threads;
	/* All by one call, which has to populate as well if nobody has. */
	bool one_call;
	enum vfb_backend chosen;
};

/* What is measured of a line, and what a plan says of it beforehand. */
enum {
	MAP,
	UNMAP,
	PLANNED_POPULATE,
	PLANNED_MAP,
	VALUES,
};

struct bench {
	struct options options;
	struct line lines[MAX_LINES];
	struct rounds rounds;
	/* What all lines of a page size map, unless it is made anew each time. */
	struct vfb_memory_info shared;
};

static const char doc[] =
	"Map memory for a device, and unmap it, with each backend and number of threads, by file "
	"and by address. All configurations map the same pages, which all CPUs populate once "
	"beforehand."
	"\v"
	"With --cold the memory is new each time, and populating and mapping are measured; an "
	"additional line does both with a single map call, as programs do that leave populating to "
	"the kernel.\n"
	"\n"
	"With --estimate each run first measures a small amount of memory, and the estimate of a "
	"plan is printed beside the measured time.\n"
	"\n"
	"With --beside little memory is mapped while a job populates and maps much, until that job "
	"ends: by a call, by a job of its own, populated or not, and by the bare system call.\n"
	"\n"
	"The configurations take turns, after an unmeasured run of each. Medians are printed.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const char *const by_names[] = {"best", "address", "file"};
static const char *const size_choices[] = {"4k", "thp", "2m", "1g", NULL};
static const char *const backend_choices[] = {"auto", "type1", "iommufd", NULL};

static const struct argument option_list[] = {
	ARGUMENT_DEVICE,
	{"memory", 'm', "SIZE", "Size of the memory (1G)", FIELD(SIZE, bytes)},
	{"page-size", 'p', "4k|thp|2m|1g[,...]", "Its pages (4k)", FIELD(CHOICES, page_sizes),
	 .names = size_choices, .low = VFB_PAGE_BASE},
	ARGUMENT_FLAG(memfd, "memfd", "Use a memfd, and map it by file as well"),
	{"backend", 'b', "auto|type1|iommufd[,...]", "The kernel interfaces to use (auto)",
	 FIELD(CHOICES, backends), .names = backend_choices},
	{"threads", 't', "N[,N]...", "Numbers of workers (1, and 2)", FIELD(NUMBERS, threads),
	 .low = 1, .high = MAX_THREADS},
	ARGUMENT_FLAG(cold, "cold", "Use memory that is not populated"),
	ARGUMENT_FLAG(estimate, "estimate", "Estimate the time beforehand"),
	ARGUMENT_FLAG(small, "small", "Map one page, with the library and with bare system calls"),
	{"beside", 'B', "SIZE", "Map little memory, alone and beside a job that maps SIZE",
	 FIELD(SIZE, beside)},
	ARGUMENT_REPEAT("Runs of each configuration (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench map",
					   .doc = doc,
					   .all = option_list};

/* What a line is measured with. */
struct setting {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_device *device;
	/* What is mapped; and what it was adopted from, if that is the line's own. */
	struct vfb_memory *memory, *fresh;
};

static int create_memory(const struct options *options, struct vfb_ctx *ctx,
			 enum vfb_page_size page_size, struct vfb_memory **memory)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;

	opts.bytes = options->bytes;
	opts.page_size = page_size;
	opts.kind = options->memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	return vfb_memory_create(ctx, &opts, memory);
}

/* @info: the memory; it is populated, but this context need not know that. */
static int adopt_memory(const struct vfb_memory_info *info, struct vfb_ctx *ctx,
			struct vfb_memory **memory)
{
	struct vfb_memory_adopt_opts opts = VFB_MEMORY_ADOPT_OPTS_INIT;

	opts.address = info->address;
	opts.bytes = info->bytes;
	opts.page_size = info->page_size;
	opts.fd = info->fd;
	opts.flags = VFB_MEMORY_ADOPT_POPULATED | (info->fd >= 0 ? VFB_MEMORY_ADOPT_HAS_FD : 0);
	return vfb_memory_adopt(ctx, &opts, memory);
}

static int begin(const struct options *options, const struct line *line, struct setting *setting)
{
	struct vfb_ctx_opts ctx = VFB_CTX_OPTS_INIT;
	struct vfb_space_opts space = VFB_SPACE_OPTS_INIT;
	int error;

	ctx.threads = line->threads;
	space.backend = line->backend;
	space.map_by = line->by;
	space.page_size = line->page_size;
	space.kind = options->memfd ? VFB_MEMORY_MEMFD : VFB_MEMORY_ANONYMOUS;
	error = vfb_ctx_create(&ctx, &setting->ctx);
	if (!error && options->estimate)
		error = vfb_backend_measure(setting->ctx, options->device, line->page_size,
					    space.kind);
	if (!error)
		error = vfb_space_create(setting->ctx, &space, &setting->space);
	return error ? error : vfb_device_open(setting->space, options->device, &setting->device);
}

static void end(struct setting *setting)
{
	vfb_device_close(setting->device);
	vfb_space_destroy(setting->space);
	vfb_memory_destroy(setting->memory);
	vfb_memory_destroy(setting->fresh);
	vfb_ctx_destroy(setting->ctx);
}

/* What the plan of a range says, as far as it was measured. */
static int plan(struct vfb_space *space, struct vfb_range *range, const struct vfb_batch_opts *opts,
		double *values)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	int error = vfb_space_map_plan(space, range, 1, opts, &plan);

	values[PLANNED_POPULATE] = plan.populate_ns * 1e-9;
	values[PLANNED_MAP] = plan.map_ns * 1e-9;
	return error;
}

static int map_and_unmap(struct setting *setting, struct line *line, double *values)
{
	struct vfb_space_info space = VFB_SPACE_INFO_INIT;
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct vfb_batch_opts opts = VFB_BATCH_OPTS_INIT;
	struct vfb_range range = {.memory = setting->memory, .iova = UINT64_C(4) << 30};
	double start;
	int error;

	vfb_memory_info(setting->memory, &info);
	vfb_space_info(setting->space, &space);
	line->chosen = space.backend;
	range.bytes = info.bytes;
	opts.width = line->one_call ? 1 : 0;
	error = plan(setting->space, &range, &opts, values);
	if (error)
		return error;
	start = clock_seconds();
	error = vfb_space_map(setting->space, &range, 1, &opts);
	values[MAP] = clock_seconds() - start;
	if (error)
		return error;
	start = clock_seconds();
	error = vfb_space_unmap(setting->space, &range, 1, &opts);
	values[UNMAP] = clock_seconds() - start;
	return error;
}

/* Memory of the line's own, which is not populated; with one call the library takes it to be, so
 * that the kernel has to. */
static int create_cold(const struct options *options, const struct line *line,
		       struct setting *setting)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	int error;

	if (!line->one_call)
		return create_memory(options, setting->ctx, line->page_size, &setting->memory);
	error = create_memory(options, setting->ctx, line->page_size, &setting->fresh);
	if (!error)
		error = vfb_memory_info(setting->fresh, &info);
	return error ? error : adopt_memory(&info, setting->ctx, &setting->memory);
}

static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	struct line *line = &bench->lines[number];
	struct setting setting = {0};
	int error;

	error = begin(&bench->options, line, &setting);
	if (!error && bench->options.cold)
		error = create_cold(&bench->options, line, &setting);
	else if (!error)
		error = adopt_memory(&bench->shared, setting.ctx, &setting.memory);
	if (!error)
		error = map_and_unmap(&setting, line, values);
	complain(error);
	end(&setting);
	return error;
}

/* All rounds of the lines of a page size. */
static int run_page_size(struct bench *bench, size_t first, size_t count)
{
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error = 0;

	bench->shared = (struct vfb_memory_info)VFB_MEMORY_INFO_INIT;
	if (!bench->options.cold) {
		error = vfb_ctx_create(NULL, &ctx);
		if (!error)
			error = create_memory(&bench->options, ctx, bench->lines[first].page_size,
					      &memory);
		if (!error)
			error = vfb_memory_populate(memory);
		if (!error)
			error = vfb_memory_info(memory, &bench->shared);
		complain(error);
	}
	if (!error)
		error = rounds_run(&bench->rounds, first, count);
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
	return error;
}

static int run(struct bench *bench)
{
	const struct line *lines = bench->lines;
	size_t count = bench->rounds.line_count, next;
	int error = 0;

	for (size_t first = 0; first < count && !error; first = next) {
		for (next = first + 1; next < count; next++)
			if (lines[next].page_size != lines[first].page_size)
				break;
		error = run_page_size(bench, first, next - first);
	}
	return error;
}

static size_t add_ways(const struct options *options, struct line *lines, size_t count,
		       struct line line)
{
	bool by_file = options->memfd && line.backend != VFB_BACKEND_TYPE1;

	for (size_t i = 0; i < options->threads.count; i++) {
		line.threads = options->threads.all[i];
		line.by = by_file ? VFB_MAP_BY_ADDRESS : VFB_MAP_BY_BEST;
		lines[count++] = line;
		line.by = VFB_MAP_BY_FILE;
		if (by_file)
			lines[count++] = line;
	}
	line.by = VFB_MAP_BY_BEST;
	line.threads = 1;
	line.one_call = true;
	if (options->cold)
		lines[count++] = line;
	return count;
}

/* Page size after page size. */
static size_t make_lines(const struct options *options, struct line *lines)
{
	size_t count = 0;

	for (size_t size = 0; size < options->page_sizes.count; size++)
		for (size_t i = 0; i < options->backends.count; i++)
			count = add_ways(options, lines, count,
					 (struct line){.page_size = options->page_sizes.all[size],
						       .backend = options->backends.all[i]});
	return count;
}

static const struct column columns[] = {
	{"page_size", "pages", -5, 0, 0, NULL},
	{"asked_backend", "backend", -8, 0, 0, NULL},
	{"backend", "is", -8, 0, 0, NULL},
	{"by", "by", -8, 0, 0, NULL},
	{"threads", "threads", 8, 0, 0, NULL},
	{"one_call", NULL, 0, 0, 0, NULL},
	{"map_s", "map_s", 9, 4, 0, NULL},
	{"unmap_s", "unmap_s", 9, 4, 0, NULL},
	{"told_populate_s", "planned: populate_s", 20, 4, 0, NULL},
	{"told_map_s", "map_s", 7, 4, 0, NULL},
	{NULL, "", -9, 0, 0, NULL},
};

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct line *line = &bench->lines[number];

	*cells++ = json_object_new_string(page_size_name(line->page_size));
	*cells++ = json_object_new_string(backend_names[line->backend]);
	*cells++ = json_object_new_string(backend_names[line->chosen]);
	*cells++ = json_object_new_string(by_names[line->by]);
	*cells++ = json_object_new_int(line->threads);
	*cells++ = json_object_new_boolean(line->one_call);
	for (size_t i = 0; i < VALUES; i++, cells++)
		if (i <= UNMAP || bench->options.estimate)
			*cells = json_object_new_double(rounds_median(&bench->rounds, number, i));
	if (line->one_call)
		*cells = json_object_new_string(" one call");
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output, "%.2f GiB, Linux %s, medians of %u%s\n\n", options->bytes / GIB,
		    output_kernel(), options->repeat,
		    options->cold ? "; map_s includes populating" : "");
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	output_add(&output, "cold", json_object_new_boolean(options->cold));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	return output_end(&output);
}

static void set_defaults(struct options *options)
{
	if (!options->page_sizes.count)
		options->page_sizes.all[options->page_sizes.count++] = VFB_PAGE_BASE;
	if (!options->backends.count)
		options->backends.all[options->backends.count++] = VFB_BACKEND_AUTO;
	if (options->threads.count)
		return;
	options->threads.all[options->threads.count++] = 1;
	options->threads.all[options->threads.count++] = 2;
}

static int run_small(const struct options *options)
{
	const struct small_options small = {
		.device = options->device,
		.backend = options->backends.all[0],
		.beside = options->beside,
		.repeat = options->repeat,
		.json = options->json,
	};

	return options->beside ? bench_map_beside(&small) : bench_small(&small);
}

int bench_map(int argc, char **argv)
{
	static struct bench bench = {.options = {.bytes = UINT64_C(1) << 30, .repeat = 5}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	set_defaults(&bench.options);
	if (bench.options.small || bench.options.beside)
		return run_small(&bench.options);
	bench.rounds = (struct rounds){make_lines(&bench.options, bench.lines),
				       VALUES,
				       bench.options.repeat,
				       measure,
				       &bench,
				       NULL};
	if (!run(&bench))
		status = print(&bench);
	rounds_free(&bench.rounds);
	return status;
}
