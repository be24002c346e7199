/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "statistics.h"

#define GIB 1073741824.0

#define MAX_LINES  1024
#define PAGE_SIZES (VFB_PAGE_1G + 1)
#define BACKENDS   (VFB_BACKEND_IOMMUFD + 1)

struct options {
	uint64_t bytes;
	const char *device;
	bool page_sizes[PAGE_SIZES], backends[BACKENDS];
	struct thread_counts threads;
	unsigned int repeat;
	bool memfd, cold, estimate, json;
};

/* One way to go about it: a line of the table. */
struct line {
	enum vfb_page_size page_size;
	enum vfb_backend backend;
	enum vfb_map_by by;
	unsigned int threads;
	/* All by one call, which has to populate as well if nobody has. */
	bool one_call;
	enum vfb_backend chosen;
	/* One for each run; what a plan has told of populating and of mapping beforehand. */
	double *map_s, *unmap_s, *told_populate_s, *told_map_s;
};

static const char *const by_names[] = {"best", "address", "file"};

static const char doc[] =
	"Map memory for a device, and unmap it: backend beside backend, by file beside by address, "
	"each with each number of threads. Every line maps the same pages, which are populated "
	"once, by all CPUs."
	"\v"
	"With --cold the memory is new each time, and what is measured is populating and mapping; "
	"a line more does both by one map call for all of it, as programs do that leave populating "
	"to the kernel.\n"
	"\n"
	"With --estimate each run measures a little memory first, and what a plan tells thereupon is "
	"printed beside what it took.\n"
	"\n"
	"The lines take turns, and each is run once beforehand, uncounted. Medians are printed.\n"
	"\n"
	"Sizes are bytes, or have K, M, G or T (powers of 1024) behind them.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

enum {
	OPTION_MEMFD = OPTION_OWN,
	OPTION_COLD,
	OPTION_ESTIMATE,
};

static const struct argp_option argp_options[] = {
	{"device", 'd', "BDF", 0, "A PCI device bound to vfio-pci, as 0000:01:00.0 (required)", 0},
	{"memory", 'm', "SIZE", 0, "How much memory (1G)", 0},
	{"page-size", 'p', "SIZE[,SIZE]...", 0, "4k, thp, 2m, 1g (4k)", 0},
	{"memfd", OPTION_MEMFD, NULL, 0, "Memory that can be shared, mapped by file, too", 0},
	{"backend", 'b', "NAME[,NAME]...", 0, "auto, type1, iommufd (auto)", 0},
	{"threads", 't', "N[,N]...", 0, "Numbers of workers (1, and 2)", 0},
	{"cold", OPTION_COLD, NULL, 0, "Memory that is not populated", 0},
	{"estimate", OPTION_ESTIMATE, NULL, 0, "Tell beforehand how long it will take", 0},
	{"repeat", 'r', "N", 0, "Runs of each line (5)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

/* Calls @add with each word of a list. */
static void each_word(struct argp_state *state, char *text,
		      void (*add)(struct argp_state *state, struct options *options,
				  const char *word))
{
	char *rest = NULL;

	for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
		add(state, state->input, word);
}

static void add_page_size(struct argp_state *state, struct options *options, const char *word)
{
	int page_size = argument_choice(state, "page-size", word, page_size_names);

	if (page_size == VFB_PAGE_AUTO || page_size >= PAGE_SIZES)
		argp_error(state, "--page-size takes 4k, thp, 2m, 1g here, not \"%s\"", word);
	else
		options->page_sizes[page_size] = true;
}

static void add_backend(struct argp_state *state, struct options *options, const char *word)
{
	int backend = argument_choice(state, "backend", word, backend_names);

	if (backend >= BACKENDS)
		argp_error(state, "--backend takes auto, type1, iommufd here, not \"%s\"", word);
	else
		options->backends[backend] = true;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'd':
		options->device = arg;
		return 0;
	case 'm':
		options->bytes = argument_size(state, "memory", arg);
		return 0;
	case 'p':
		each_word(state, arg, add_page_size);
		return 0;
	case OPTION_MEMFD:
		options->memfd = true;
		return 0;
	case 'b':
		each_word(state, arg, add_backend);
		return 0;
	case 't':
		argument_threads(state, &options->threads, arg);
		return 0;
	case OPTION_COLD:
		options->cold = true;
		return 0;
	case OPTION_ESTIMATE:
		options->estimate = true;
		return 0;
	case ARGP_KEY_END:
		if (!options->device)
			argp_error(state, "--device is missing");
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

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

/* @info: what the memory is; populated as far as this context is told. */
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
static int ask(struct vfb_space *space, struct vfb_range *range, const struct vfb_batch_opts *opts,
	       struct line *line, unsigned int run)
{
	struct vfb_map_plan plan = VFB_MAP_PLAN_INIT;
	int error = vfb_space_map_plan(space, range, 1, opts, &plan);

	line->told_populate_s[run] = plan.populate_ns * 1e-9;
	line->told_map_s[run] = plan.map_ns * 1e-9;
	return error;
}

static int map_and_unmap(struct setting *setting, struct line *line, unsigned int run)
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
	error = ask(setting->space, &range, &opts, line, run);
	if (error)
		return error;
	start = clock_seconds();
	error = vfb_space_map(setting->space, &range, 1, &opts);
	line->map_s[run] = clock_seconds() - start;
	if (error)
		return error;
	start = clock_seconds();
	error = vfb_space_unmap(setting->space, &range, 1, &opts);
	line->unmap_s[run] = clock_seconds() - start;
	return error;
}

/* @shared: memory that all lines map. */
static int run_line(const struct options *options, struct line *line,
		    const struct vfb_memory_info *shared, unsigned int run)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct setting setting = {0};
	int error;

	error = begin(options, line, &setting);
	if (!error && options->cold && !line->one_call)
		error = create_memory(options, setting.ctx, line->page_size, &setting.memory);
	/* That the memory is populated is not true then: the kernel finds out. */
	if (!error && options->cold && line->one_call) {
		error = create_memory(options, setting.ctx, line->page_size, &setting.fresh);
		if (!error) {
			vfb_memory_info(setting.fresh, &info);
			error = adopt_memory(&info, setting.ctx, &setting.memory);
		}
	}
	if (!error && !options->cold)
		error = adopt_memory(shared, setting.ctx, &setting.memory);
	if (!error)
		error = map_and_unmap(&setting, line, run);
	complain(error);
	end(&setting);
	return error;
}

/* All runs of the lines of a page size. */
static int run_lines(const struct options *options, struct line *lines, size_t count)
{
	struct vfb_memory_info shared = VFB_MEMORY_INFO_INIT;
	struct vfb_memory *memory = NULL;
	struct vfb_ctx *ctx = NULL;
	int error = 0;

	if (!options->cold) {
		error = vfb_ctx_create(NULL, &ctx);
		if (!error)
			error = create_memory(options, ctx, lines->page_size, &memory);
		if (!error)
			error = vfb_memory_populate(memory);
		if (!error)
			error = vfb_memory_info(memory, &shared);
		complain(error);
	}
	/* Run 0 comes twice: the first time to warm up. */
	for (unsigned int run = 0; run <= options->repeat && !error; run++)
		for (size_t i = 0; i < count && !error; i++)
			error = run_line(options, &lines[i], &shared, run ? run - 1 : 0);
	vfb_memory_destroy(memory);
	vfb_ctx_destroy(ctx);
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

	for (int size = 0; size < PAGE_SIZES; size++)
		for (int backend = 0; backend < BACKENDS && options->page_sizes[size]; backend++)
			if (options->backends[backend])
				count = add_ways(options, lines, count,
						 (struct line){.page_size = size,
							       .backend = backend});
	return count;
}

static bool print_table(const struct options *options, const struct line *lines, size_t count)
{
	struct utsname kernel;

	uname(&kernel);
	printf("%.2f GiB, Linux %s, medians of %u%s\n\n", options->bytes / GIB, kernel.release,
	       options->repeat, options->cold ? "; map_s includes populating" : "");
	printf("%-5s %-8s %-8s %-8s %8s %9s %9s%s\n", "pages", "backend", "is", "by", "threads",
	       "map_s", "unmap_s", options->estimate ? "  told: populate_s, map_s" : "");
	for (size_t i = 0; i < count; i++) {
		printf("%-5s %-8s %-8s %-8s %8u %9.4f %9.4f", page_size_names[lines[i].page_size],
		       backend_names[lines[i].backend], backend_names[lines[i].chosen],
		       by_names[lines[i].by], lines[i].threads,
		       median(lines[i].map_s, options->repeat),
		       median(lines[i].unmap_s, options->repeat));
		if (options->estimate)
			printf("  %16.4f %7.4f", median(lines[i].told_populate_s, options->repeat),
			       median(lines[i].told_map_s, options->repeat));
		puts(lines[i].one_call ? "  one call" : "");
	}
	return output_flush();
}

static bool print_json(const struct options *options, const struct line *lines, size_t count)
{
	struct json_object *object = output_object(), *results = json_object_new_array();

	json_object_object_add(object, "memory_bytes", json_object_new_uint64(options->bytes));
	json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
	json_object_object_add(object, "cold", json_object_new_boolean(options->cold));
	for (size_t i = 0; i < count; i++) {
		struct json_object *result = json_object_new_object();

		json_object_object_add(result, "page_size",
				       json_object_new_string(page_size_names[lines[i].page_size]));
		json_object_object_add(result, "asked_backend",
				       json_object_new_string(backend_names[lines[i].backend]));
		json_object_object_add(result, "backend",
				       json_object_new_string(backend_names[lines[i].chosen]));
		json_object_object_add(result, "by", json_object_new_string(by_names[lines[i].by]));
		json_object_object_add(result, "threads", json_object_new_int(lines[i].threads));
		json_object_object_add(result, "one_call",
				       json_object_new_boolean(lines[i].one_call));
		json_object_object_add(result, "map_s",
				       json_object_new_double(
					       median(lines[i].map_s, options->repeat)));
		json_object_object_add(result, "unmap_s",
				       json_object_new_double(
					       median(lines[i].unmap_s, options->repeat)));
		if (options->estimate) {
			json_object_object_add(result, "told_populate_s",
					       json_object_new_double(
						       median(lines[i].told_populate_s,
							      options->repeat)));
			json_object_object_add(result, "told_map_s",
					       json_object_new_double(median(lines[i].told_map_s,
									     options->repeat)));
		}
		json_object_array_add(results, result);
	}
	json_object_object_add(object, "results", results);
	return output_json(object);
}

static void set_defaults(struct options *options)
{
	bool size = false, backend = false;

	for (int i = 0; i < PAGE_SIZES; i++)
		size = size || options->page_sizes[i];
	for (int i = 0; i < BACKENDS; i++)
		backend = backend || options->backends[i];
	options->page_sizes[VFB_PAGE_4K] = options->page_sizes[VFB_PAGE_4K] || !size;
	options->backends[VFB_BACKEND_AUTO] = options->backends[VFB_BACKEND_AUTO] || !backend;
	if (options->threads.count)
		return;
	options->threads.all[options->threads.count++] = 1;
	options->threads.all[options->threads.count++] = 2;
}

static int run_all(const struct options *options, struct line *lines, size_t count)
{
	size_t next;
	int error = 0;

	for (size_t first = 0; first < count && !error; first = next) {
		for (next = first + 1; next < count; next++)
			if (lines[next].page_size != lines[first].page_size)
				break;
		error = run_lines(options, &lines[first], next - first);
	}
	return error;
}

int bench_map(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost bench map";
	struct options options = {.bytes = UINT64_C(1) << 30, .repeat = 5};
	static struct line lines[MAX_LINES];
	bool written = false;
	double *times;
	size_t count;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	set_defaults(&options);
	count = make_lines(&options, lines);
	times = calloc(4 * count * options.repeat, sizeof(*times));
	for (size_t i = 0; times && i < count; i++) {
		lines[i].map_s = times + 4 * i * options.repeat;
		lines[i].unmap_s = lines[i].map_s + options.repeat;
		lines[i].told_populate_s = lines[i].unmap_s + options.repeat;
		lines[i].told_map_s = lines[i].told_populate_s + options.repeat;
	}
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
