/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "progress.h"
#include "statistics.h"

#define MIB (UINT64_C(1) << 20)
/* Points that are passed for one measurement of one. */
#define PASSES 1000000

/* Who listens while memory is populated. */
enum listener {
	NOBODY,
	COUNTERS,
	TRACE,
	LISTENERS,
};

static const char *const listener_names[] = {"nobody", "counters", "trace"};

struct options {
	uint64_t bytes;
	enum vfb_page_size page_size;
	unsigned int repeat;
	bool json;
};

struct measured {
	/* Two calls that do nothing; those of a point where nobody listens, and those of one that
	 * is counted; in nanoseconds. */
	double calls_ns, point_ns, counted_ns;
	/* Populating, by who listens; and the events that it consists of. */
	double seconds[LISTENERS];
	uint64_t events;
};

static const char doc[] =
	"Measure what events cost: a point of the code that nobody listens to, one that is counted, "
	"and populating memory with nobody, counters or a trace listening."
	"\v"
	"The runs take turns, after one that is not counted; medians are printed. A point is the "
	"beginning and the end of a step together, as two calls of the library's interface; its "
	"own points are inline, so that of this they are only what exceeds two calls that do nothing.\n"
	"\n"
	"Sizes are bytes, or have K, M, G or T (powers of 1024) behind them.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

enum {
	OPTION_MEMORY = 'm',
	OPTION_PAGE_SIZE = 'p',
};

static const struct argp_option argp_options[] = {
	{"memory", OPTION_MEMORY, "SIZE", 0, "How much memory to populate (256M)", 0},
	{"page-size", OPTION_PAGE_SIZE, "auto|4k|thp|2m|1g", 0, "What it is made of (auto)", 0},
	{"repeat", 'r', "N", 0, "How often to measure each (11)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case OPTION_MEMORY:
		options->bytes = argument_size(state, "memory", arg);
		return 0;
	case OPTION_PAGE_SIZE:
		options->page_size = argument_choice(state, "page-size", arg, page_size_names);
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

/* What listens to a context. */
struct listening {
	struct vfb_stats *stats;
	struct vfb_trace *trace;
	struct vfb_subscription *subscription;
	int fd;
};

static int listen_with(struct vfb_ctx *ctx, enum listener listener, struct listening *listening)
{
	int error;

	*listening = (struct listening){.fd = -1};
	if (listener == COUNTERS)
		return complain(vfb_stats_create(ctx, NULL, &listening->stats));
	if (listener != TRACE)
		return 0;
	listening->fd = memfd_create("vfioboost-trace", MFD_CLOEXEC);
	error = complain(vfb_trace_create(listening->fd, &listening->trace));
	if (!error)
		error = complain(vfb_trace_subscribe(listening->trace, ctx, "bench", NULL,
						     &listening->subscription));
	return error;
}

static void stop_listening(struct listening *listening)
{
	vfb_stats_destroy(listening->stats);
	vfb_unsubscribe(listening->subscription);
	complain(vfb_trace_destroy(listening->trace));
	if (listening->fd >= 0)
		close(listening->fd);
}

/* Nanoseconds for passing a point. */
static double pass_points(struct vfb_ctx *ctx)
{
	uint64_t begin = clock_ns();

	for (int i = 0; i < PASSES; i++)
		vfb_span_end(vfb_span_begin(ctx, "point"), 0);
	return (double)(clock_ns() - begin) / PASSES;
}

/* The calls alone: the library's own points are inline, they have none. */
static double call_nothing(void)
{
	uint64_t begin = clock_ns();

	for (int i = 0; i < PASSES; i++) {
		vfb_unsubscribe(NULL);
		vfb_span_end(NULL, 0);
	}
	return (double)(clock_ns() - begin) / PASSES;
}

/* Seconds for populating memory; the number of events when they are counted. */
static int populate(struct vfb_ctx *ctx, const struct options *options, enum listener listener,
		    double *seconds, uint64_t *events)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_stats_entry entries[VFB_PHASE_COUNT];
	struct listening listening;
	struct vfb_memory *memory;
	struct vfb_job *job;
	uint64_t begin;
	int error, count;

	opts.bytes = options->bytes;
	opts.page_size = options->page_size;
	error = listen_with(ctx, listener, &listening);
	begin = clock_ns();
	if (!error)
		error = complain(vfb_memory_create(ctx, &opts, &memory));
	if (!error) {
		error = complain(vfb_memory_populate_start(&memory, 1, &job));
		if (!error)
			error = progress_wait("populating", &job, 1);
		*seconds = (clock_ns() - begin) * 1e-9;
		complain(vfb_memory_destroy(memory));
	}
	count = listening.stats ? vfb_stats_read(listening.stats, 0, entries, VFB_PHASE_COUNT) : 0;
	if (count > 0)
		*events = 0;
	for (int i = 0; i < count; i++)
		*events += entries[i].count;
	stop_listening(&listening);
	return error;
}

static int measure(struct vfb_ctx *ctx, const struct options *options, double *values,
		   struct measured *measured)
{
	unsigned int repeat = options->repeat;
	struct vfb_stats *stats;
	double ignored;
	int error;

	error = populate(ctx, options, NOBODY, &ignored, &measured->events);
	for (unsigned int round = 0; round < repeat && !error; round++) {
		values[(2 + LISTENERS) * repeat + round] = call_nothing();
		values[round] = pass_points(ctx);
		error = complain(vfb_stats_create(ctx, NULL, &stats));
		if (error)
			break;
		values[repeat + round] = pass_points(ctx);
		vfb_stats_destroy(stats);
		for (int listener = 0; listener < LISTENERS && !error; listener++)
			error = populate(ctx, options, listener,
					 &values[(2 + listener) * repeat + round],
					 &measured->events);
	}
	measured->calls_ns = median(values + (2 + LISTENERS) * repeat, repeat);
	measured->point_ns = median(values, repeat);
	measured->counted_ns = median(values + repeat, repeat);
	for (int listener = 0; listener < LISTENERS; listener++)
		measured->seconds[listener] = median(values + (2 + listener) * repeat, repeat);
	return error;
}

/* What the points cost of the time when nobody listens, as a share. */
static double unheard_share(const struct measured *measured)
{
	return measured->events * measured->point_ns * 1e-9 / measured->seconds[NOBODY];
}

static bool print_table(const struct options *options, const struct measured *measured)
{
	printf("two calls that do nothing       %8.2f ns\n", measured->calls_ns);
	printf("a point that nobody listens to  %8.2f ns\n", measured->point_ns);
	printf("a point that is counted         %8.2f ns\n\n", measured->counted_ns);
	printf("populating %.2f GiB in %s pages, %ju events, medians of %u:\n",
	       options->bytes / 1073741824.0, page_size_names[options->page_size],
	       (uintmax_t)measured->events, options->repeat);
	for (int listener = 0; listener < LISTENERS; listener++)
		printf("%-9s %8.4f s  %7.4f of nobody\n", listener_names[listener],
		       measured->seconds[listener],
		       measured->seconds[listener] / measured->seconds[NOBODY]);
	printf("\nunheard, the points are %.6f %% of it.\n", 100 * unheard_share(measured));
	return output_flush();
}

static bool print_json(const struct options *options, const struct measured *measured)
{
	struct json_object *object = output_object();
	char name[32];

	json_object_object_add(object, "memory_bytes", json_object_new_uint64(options->bytes));
	json_object_object_add(object, "page_size",
			       json_object_new_string(page_size_names[options->page_size]));
	json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
	json_object_object_add(object, "calls_ns", json_object_new_double(measured->calls_ns));
	json_object_object_add(object, "point_ns", json_object_new_double(measured->point_ns));
	json_object_object_add(object, "counted_ns", json_object_new_double(measured->counted_ns));
	json_object_object_add(object, "events", json_object_new_uint64(measured->events));
	for (int listener = 0; listener < LISTENERS; listener++) {
		snprintf(name, sizeof(name), "%s_s", listener_names[listener]);
		json_object_object_add(object, name,
				       json_object_new_double(measured->seconds[listener]));
	}
	json_object_object_add(object, "unheard_share",
			       json_object_new_double(unheard_share(measured)));
	return output_json(object);
}

int bench_events(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost bench events";
	struct options options = {.bytes = 256 * MIB, .repeat = 11};
	struct measured measured = {.events = 0};
	struct vfb_ctx *ctx;
	double *values;
	bool done;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (complain(vfb_ctx_create(NULL, &ctx)))
		return EXIT_FAILED;
	values = calloc((3 + LISTENERS) * options.repeat, sizeof(*values));
	done = values && !measure(ctx, &options, values, &measured);
	free(values);
	complain(vfb_ctx_destroy(ctx));
	if (!done)
		return EXIT_FAILED;
	return (options.json ? print_json : print_table)(&options, &measured) ? EXIT_OK :
										EXIT_FAILED;
}
