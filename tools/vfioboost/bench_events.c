/* SPDX-License-Identifier: MIT */
/* vfioboost bench events: what events cost, by who listens. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "progress.h"
#include "rounds.h"

#define MIB (UINT64_C(1) << 20)
/* Points that are passed for one measurement of one. */
#define PASSES 1000000

/* The lines: two calls that do nothing; a point that nobody listens to, and one that is counted,
 * in nanoseconds; populating memory while nobody, counters or a trace listen, in seconds. */
enum line {
	CALLS,
	POINT,
	COUNTED,
	NOBODY,
	COUNTERS,
	TRACE,
	LINES,
};

static const struct {
	const char *key, *text;
} lines[LINES] = {
	{"calls_ns", "two calls that do nothing"},
	{"point_ns", "a point that nobody listens to"},
	{"counted_ns", "a point that is counted"},
	{"nobody_s", "nobody"},
	{"counters_s", "counters"},
	{"trace_s", "trace"},
};

struct options {
	uint64_t bytes;
	enum vfb_page_size page_size;
	unsigned int repeat;
	bool json;
};

struct bench {
	struct options options;
	struct vfb_ctx *ctx;
	/* That populating consists of. */
	uint64_t events;
};

static const char doc[] =
	"Measure the cost of events: one without subscribers, one that is counted, and populating "
	"memory without subscribers, with counters, and with a trace."
	"\v"
	"The runs take turns, after an unmeasured one; medians are printed. An event is measured as "
	"two calls of the public interface, the beginning and the end of a span. The library's own "
	"events are inline: they cost only what exceeds two calls that do nothing.\n"
	"\n" DOC_SIZES DOC_EXIT;

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Size of the memory to populate (256M)", FIELD(SIZE, bytes)},
	{"page-size", 'p', "auto|4k|thp|2m|1g", "Its pages (auto)", FIELD(CHOICE, page_size),
	 .names = page_size_names},
	ARGUMENT_REPEAT("Measurements of each (11)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench events",
					   .doc = doc,
					   .all = option_list};

/* What listens to a context. */
struct listening {
	struct vfb_stats *stats;
	struct vfb_trace *trace;
	struct vfb_subscription *subscription;
	int fd;
};

static int listen_with(struct vfb_ctx *ctx, enum line listener, struct listening *listening)
{
	int error;

	*listening = (struct listening){.fd = -1};
	if (listener == COUNTERS || listener == COUNTED)
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

/* How many events they have counted. */
static uint64_t count_events(struct vfb_stats *stats)
{
	struct vfb_stats_entry entries[VFB_PHASE_COUNT];
	int count = vfb_stats_read(stats, 0, entries, VFB_PHASE_COUNT);
	uint64_t events = 0;

	for (int i = 0; i < count; i++)
		events += entries[i].count;
	return events;
}

static int populate(struct bench *bench, double *seconds)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	uint64_t begin = clock_ns();
	struct vfb_memory *memory;
	struct vfb_job *job;
	int error;

	opts.bytes = bench->options.bytes;
	opts.page_size = bench->options.page_size;
	error = complain(vfb_memory_create(bench->ctx, &opts, &memory));
	if (error)
		return error;
	error = complain(vfb_memory_populate_start(&memory, 1, &job));
	if (!error)
		error = progress_wait("populating", &job, 1);
	*seconds = (clock_ns() - begin) * 1e-9;
	complain(vfb_memory_destroy(memory));
	return error;
}

static int measure(void *data, size_t line, double *values)
{
	struct listening listening;
	struct bench *bench = data;
	int error;

	if (line == CALLS) {
		values[0] = call_nothing();
		return 0;
	}
	error = listen_with(bench->ctx, line, &listening);
	if (!error && line <= COUNTED)
		values[0] = pass_points(bench->ctx);
	else if (!error)
		error = populate(bench, &values[0]);
	if (!error && line == COUNTERS)
		bench->events = count_events(listening.stats);
	stop_listening(&listening);
	return error;
}

static int print(const struct bench *bench, const struct rounds *rounds)
{
	const struct options *options = &bench->options;
	const char *pages = page_size_name(options->page_size);
	double medians[LINES], share;
	struct output output;

	for (size_t i = 0; i < LINES; i++)
		medians[i] = rounds_median(rounds, i, 0);
	share = bench->events * medians[POINT] * 1e-9 / medians[NOBODY];
	output_begin(&output, options->json);
	output_add(&output, "memory_bytes", json_object_new_uint64(options->bytes));
	output_add(&output, "page_size", json_object_new_string(pages));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	for (size_t i = CALLS; i <= COUNTED; i++) {
		output_text(&output, "%-31s %8.2f ns\n", lines[i].text, medians[i]);
		output_add(&output, lines[i].key, json_object_new_double(medians[i]));
	}
	output_add(&output, "events", json_object_new_uint64(bench->events));
	output_text(&output, "\npopulating %.2f GiB in %s pages, %ju events, medians of %u:\n",
		    options->bytes / 1073741824.0, pages, (uintmax_t)bench->events,
		    options->repeat);
	for (size_t i = NOBODY; i < LINES; i++) {
		output_text(&output, "%-9s %8.4f s  %7.4f of nobody\n", lines[i].text, medians[i],
			    medians[i] / medians[NOBODY]);
		output_add(&output, lines[i].key, json_object_new_double(medians[i]));
	}
	output_text(&output, "\nunheard, the points are %.6f %% of it.\n", 100 * share);
	output_add(&output, "unheard_share", json_object_new_double(share));
	return output_end(&output);
}

int bench_events(int argc, char **argv)
{
	struct bench bench = {.options = {.bytes = 256 * MIB, .repeat = 11}};
	struct rounds rounds = {LINES, 1, 0, measure, &bench, NULL};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	rounds.repeat = bench.options.repeat;
	if (complain(vfb_ctx_create(NULL, &bench.ctx)))
		return EXIT_FAILED;
	if (!rounds_run(&rounds, 0, rounds.line_count))
		status = print(&bench, &rounds);
	rounds_free(&rounds);
	complain(vfb_ctx_destroy(bench.ctx));
	return status;
}
