/* SPDX-License-Identifier: MIT */
/* vfioboost bench density: how many guests fit, when memory is mapped statically and on demand. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "arguments.h"
#include "children.h"
#include "clock.h"
#include "command.h"
#include "density_guest.h"
#include "output.h"
#include "shuffle.h"
#include "statistics.h"
#include "table.h"

#define MIB	   (UINT64_C(1) << 20)
#define MAX_GUESTS 10000
/* Points of a series: numbers of guests that are powers of two, and the last number. */
#define MAX_POINTS 16
/* Of the plateau, where the throughput bends. */
#define BEND 0.9

/* Windows, in the order of their names. */
static const char *const window_choices[] = {"4k", "16k", "64k", "256k", "1m", "2m", NULL};
static const uint32_t window_sizes[] = {4096, 16384, 65536, 262144, 1048576, 2097152};

#define MAX_LINES (1 + sizeof(window_sizes) / sizeof(window_sizes[0]))

struct options {
	struct density_options guest;
	struct number_list windows;
	struct device_list devices;
	unsigned int working_set, guests, milliseconds;
	bool json;
};

/* The throughput of all guests together. */
struct point {
	unsigned int guests;
	double bytes_per_s;
};

struct line {
	/* 0: static. */
	uint32_t window;
	unsigned int guests;
	/* Of each guest. */
	double *start_s, *first_s;
	uint64_t populated_bytes;
	struct point points[MAX_POINTS];
	size_t point_count;
	/* Why there is no further guest. */
	char end[DENSITY_REASON_BYTES];
};

struct bench {
	struct options options;
	struct line lines[MAX_LINES];
	size_t line_count;
	struct density_report *reports;
	/* Of the line that is measured. */
	struct line *line;
};

static const char doc[] =
	"Start guests, each a process of its own, until the host has no memory for another one: "
	"guests whose memory is mapped statically, and guests whose memory is mapped on demand, in "
	"windows, and that use a part of it."
	"\v"
	"The working set of a guest consists of requests at random places. A request holds its "
	"part of the memory (vfb_space_hold()), writes to it and ends the hold. With 1, 2, 4, ... "
	"guests, and with the most that fit, all guests work at the same time: their throughput is "
	"printed as slope (of one guest), plateau (the most of all) and bend (the number of guests "
	"that reach 90 % of it). `vfioboost report` draws what --json prints.\n"
	"The first guests have a device each, as far as devices are given; those without one "
	"populate their memory, and nothing is pinned. If memory runs out, the kernel may kill a "
	"guest of this bench. To keep other programs of the host out of this, limit it: "
	"systemd-run --scope -p MemoryMax=8G vfioboost bench density\n"
	"\n" DOC_SIZES DOC_EXIT;

static const struct argument option_list[] = {
	{"memory", 'm', "SIZE", "Memory of each guest (256M)", FIELD(SIZE, guest.bytes)},
	{"working-set", 's', "PERCENT", "The part of it that a guest uses (10)",
	 FIELD(NUMBER, working_set), .low = 1, .high = 100},
	{"request", 'R', "SIZE", "Size of a request (1M)", FIELD(SIZE, guest.request_bytes)},
	{"window", 'w', "4k|16k|64k|256k|1m|2m[,...]", "Sizes of the windows (64k,2m)",
	 FIELD(CHOICES, windows), .names = window_choices, .low = 0},
	{"page-size", 'p', "auto|4k|thp|2m|1g|mixed", "Pages of the memory (4k)",
	 FIELD(CHOICE, guest.page_size), .names = page_size_names},
	{"guests", 'g', "N", "Stop at this number of guests (10000)", FIELD(NUMBER, guests),
	 .low = 1, .high = MAX_GUESTS},
	{"measure", 'M', "MS", "Milliseconds that the guests work at each number (500)",
	 FIELD(NUMBER, milliseconds), .low = 1, .high = 60000},
	{"device", 'd', "BDF", "A PCI device bound to vfio-pci, for one guest; may be repeated",
	 FIELD(DEVICE, devices)},
	{"backend", 'b', "auto|type1|iommufd|none|spapr", "The kernel interface to use (auto)",
	 FIELD(CHOICE, guest.backend), .names = backend_names},
	{"threads", 't', "N", "Workers of each guest (one per CPU)", FIELD(NUMBER, guest.threads),
	 .low = 1, .high = MAX_THREADS},
	ARGUMENT_FLAG(guest.memfd, "memfd", "Use memfds"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static void check_options(struct argp_state *state, void *data)
{
	struct options *options = data;

	if (!options->windows.count)
		options->windows = (struct number_list){{2, 5}, 2};
	if (!options->guest.request_bytes ||
	    options->guest.bytes / options->guest.request_bytes * options->working_set < 100)
		argp_error(state, "the working set must have room for a request");
}

static const struct arguments arguments = {.command = "vfioboost bench density",
					   .doc = doc,
					   .all = option_list,
					   .check = check_options};

/* ---- Guests ---- */

static int run_guest(void *data, unsigned int number, int fd)
{
	struct bench *bench = data;
	const struct options *options = &bench->options;

	return density_guest(&options->guest, bench->line->window,
			     number < options->devices.count ? options->devices.all[number] : NULL,
			     fd, &bench->reports[number]);
}

/* All of them work at the same time. False: one of them has ended. */
static bool measure_throughput(struct bench *bench, const struct child *children)
{
	struct line *line = bench->line;
	struct point point = {.guests = line->guests};
	double seconds = bench->options.milliseconds * 1e-3;
	double deadline = clock_seconds() + seconds;
	bool done = true;

	for (unsigned int i = 0; i < line->guests; i++)
		bench->reports[i].deadline = deadline;
	for (unsigned int i = 0; i < line->guests; i++)
		done &= child_continue(&children[i]);
	for (unsigned int i = 0; i < line->guests; i++) {
		done &= child_wait(&children[i]);
		point.bytes_per_s += bench->reports[i].written_bytes / seconds;
	}
	if (done)
		line->points[line->point_count++] = point;
	return done;
}

/* False: there is no memory for this guest, or it cannot start for another reason. */
static bool start_guest(struct bench *bench, struct child *children)
{
	struct line *line = bench->line;
	unsigned int number = line->guests;
	struct density_report *report = &bench->reports[number];
	int status;

	*report = (struct density_report){0};
	if (!child_begin(children, number, run_guest, bench)) {
		report->error = -errno;
		snprintf(line->end, sizeof(line->end), "no process: %s", strerror(errno));
		return false;
	}
	if (child_continue(&children[number]) && child_wait(&children[number])) {
		line->start_s[number] = report->start_s;
		line->first_s[number] = report->first_s;
		line->populated_bytes += report->populated_bytes;
		line->guests++;
		return true;
	}
	status = child_end(&children[number]);
	if (report->error)
		snprintf(line->end, sizeof(line->end), "%s", report->reason);
	else
		snprintf(line->end, sizeof(line->end), "guest %u was ended by signal %d", number,
			 status >= 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return false;
}

static bool is_power_of_two(unsigned int number)
{
	return !(number & (number - 1));
}

/* Until there is no memory, or there are enough. */
static void start_guests(struct bench *bench, struct child *children)
{
	struct line *line = bench->line;
	unsigned int measured = 0;

	while (line->guests < bench->options.guests && start_guest(bench, children)) {
		if (!is_power_of_two(line->guests))
			continue;
		measured = line->guests;
		if (!measure_throughput(bench, children)) {
			snprintf(line->end, sizeof(line->end), "a guest was ended at work");
			return;
		}
	}
	if (line->guests == bench->options.guests)
		snprintf(line->end, sizeof(line->end), "%u guests were asked for", line->guests);
	if (line->guests > measured && !measure_throughput(bench, children))
		snprintf(line->end, sizeof(line->end), "a guest was ended at work");
}

/* 0, or not if not even one guest could start. */
static int measure_line(struct bench *bench, struct line *line)
{
	struct child *children = calloc(bench->options.guests, sizeof(*children));

	line->start_s = calloc(bench->options.guests, sizeof(*line->start_s));
	line->first_s = calloc(bench->options.guests, sizeof(*line->first_s));
	if (!children || !line->start_s || !line->first_s) {
		perror("vfioboost");
		free(children);
		return -1;
	}
	bench->line = line;
	start_guests(bench, children);
	for (unsigned int i = 0; i < line->guests; i++)
		child_end(&children[i]);
	free(children);
	if (line->guests)
		return 0;
	fprintf(stderr, "vfioboost: no guest could start: %s\n", line->end);
	return -1;
}

/* ---- Printing ---- */

static double plateau(const struct line *line)
{
	double most = 0;

	for (size_t i = 0; i < line->point_count; i++)
		if (line->points[i].bytes_per_s > most)
			most = line->points[i].bytes_per_s;
	return most;
}

/* The fewest guests that come close to it. */
static unsigned int bend(const struct line *line)
{
	for (size_t i = 0; i < line->point_count; i++)
		if (line->points[i].bytes_per_s >= BEND * plateau(line))
			return line->points[i].guests;
	return 0;
}

static const struct column columns[] = {
	{"way", "way", -7, 0, 0, NULL},
	{"window_bytes", "window", 8, 0, 1 / 1024.0, " KiB"},
	{"guests", "guests", 7, 0, 0, NULL},
	{"ratio", "of static", 9, 2, 0, NULL},
	{"populated_bytes", "populated", 10, 1, 1.0 / (1 << 20), " MiB"},
	{"start_s", "start", 10, 4, 0, " s"},
	{"first_pass_s", "first pass", 11, 4, 0, " s"},
	{"slope_bytes_per_s", "slope", 11, 2, 1.0 / (1 << 30), " GiB/s"},
	{"plateau_bytes_per_s", "plateau", 12, 2, 1.0 / (1 << 30), " GiB/s"},
	{"last_bytes_per_s", "all guests", 12, 2, 1.0 / (1 << 30), " GiB/s"},
	{"bend_guests", "bend", 5, 0, 0, NULL},
	{"end", NULL, 0, 0, 0, NULL},
	{"points", NULL, 0, 0, 0, NULL},
	{"starts_s", NULL, 0, 0, 0, NULL},
};

static struct json_object *points_object(const struct line *line)
{
	struct json_object *points = json_object_new_array();

	for (size_t i = 0; i < line->point_count; i++) {
		struct json_object *point = json_object_new_object();

		json_object_object_add(point, "guests",
				       json_object_new_int(line->points[i].guests));
		json_object_object_add(point, "bytes_per_s",
				       json_object_new_double(line->points[i].bytes_per_s));
		json_object_array_add(points, point);
	}
	return points;
}

static struct json_object *starts_object(const struct line *line)
{
	struct json_object *starts = json_object_new_array();

	for (unsigned int i = 0; i < line->guests; i++)
		json_object_array_add(starts, json_object_new_double(line->start_s[i]));
	return starts;
}

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct line *line = &bench->lines[number];

	cells[0] = json_object_new_string(line->window ? "touch" : "static");
	if (line->window)
		cells[1] = json_object_new_uint64(line->window);
	cells[2] = json_object_new_int(line->guests);
	cells[3] = json_object_new_double((double)line->guests / bench->lines[0].guests);
	cells[4] = json_object_new_uint64(line->populated_bytes / line->guests);
	/* median() sorts. */
	cells[13] = starts_object(line);
	cells[5] = json_object_new_double(median(line->start_s, line->guests));
	cells[6] = json_object_new_double(median(line->first_s, line->guests));
	cells[11] = json_object_new_string(line->end);
	cells[12] = points_object(line);
	if (!line->point_count)
		return;
	cells[7] = json_object_new_double(line->points[0].bytes_per_s);
	cells[8] = json_object_new_double(plateau(line));
	cells[9] = json_object_new_double(line->points[line->point_count - 1].bytes_per_s);
	cells[10] = json_object_new_int(bend(line));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	uint64_t working_set = options->guest.request_count * options->guest.request_bytes;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output,
		    "Guests of %ju MiB (%s pages) with a working set of %ju MiB, Linux %s\n\n",
		    (uintmax_t)(options->guest.bytes / MIB),
		    page_size_name(options->guest.page_size), (uintmax_t)(working_set / MIB),
		    output_kernel());
	output_add(&output, "bench", json_object_new_string("density"));
	output_add(&output, "memory_bytes", json_object_new_uint64(options->guest.bytes));
	output_add(&output, "working_set_bytes", json_object_new_uint64(working_set));
	output_add(&output, "request_bytes", json_object_new_uint64(options->guest.request_bytes));
	output_add(&output, "page_size",
		   json_object_new_string(page_size_name(options->guest.page_size)));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->line_count, fill_cells, bench);
	output_text(&output, "\n");
	for (size_t i = 0; i < bench->line_count; i++)
		output_text(&output, "No further guest (line %zu): %s\n", i + 1,
			    bench->lines[i].end);
	return output_end(&output);
}

/* ---- All of them ---- */

static int run(struct bench *bench)
{
	struct options *options = &bench->options;
	struct density_options *guest = &options->guest;
	size_t places = guest->bytes / guest->request_bytes;
	int error = 0;

	guest->request_count = places * options->working_set / 100;
	guest->offsets = shuffle_offsets(places, guest->request_bytes);
	bench->reports = mmap(NULL, options->guests * sizeof(*bench->reports),
			      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!guest->offsets || bench->reports == MAP_FAILED)
		return -1;
	bench->line_count = 1 + options->windows.count;
	for (size_t i = 0; i < options->windows.count; i++)
		bench->lines[1 + i].window = window_sizes[options->windows.all[i]];
	for (size_t i = 0; i < bench->line_count && !error; i++)
		error = measure_line(bench, &bench->lines[i]);
	return error;
}

int bench_density(int argc, char **argv)
{
	static struct bench bench = {.options = {.guest = {.bytes = 256 * MIB,
							   .request_bytes = MIB,
							   .page_size = VFB_PAGE_BASE},
						 .working_set = 10,
						 .guests = MAX_GUESTS,
						 .milliseconds = 500}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	if (!run(&bench))
		status = print(&bench);
	for (size_t i = 0; i < bench.line_count; i++) {
		free(bench.lines[i].start_s);
		free(bench.lines[i].first_s);
	}
	free((void *)bench.options.guest.offsets);
	return status;
}
