/* SPDX-License-Identifier: MIT */
/* vfioboost bench bar: a BAR mapped at addresses that admit small pages, and large ones. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "table.h"

#define BASE	  ((uint64_t)4 << 10)
#define LARGE	  ((uint64_t)2 << 20)
#define HUGE	  ((uint64_t)1 << 30)
#define BACKENDS  2
#define PLACES	  3
#define MAX_LINES (BACKENDS * PLACES)

/* How far the address is from a multiple of 1 GiB, and the pages that leaves possible. */
static const uint64_t places[PLACES] = {BASE, LARGE, 0};
static const char *const place_names[PLACES] = {"4k", "2m", "1g"};
static const enum vfb_backend backends[BACKENDS] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

struct options {
	const char *device;
	/* MAX_BARS: the largest. */
	unsigned int bar;
	unsigned int repeat;
	bool json;
};

#define MAX_BARS 6

struct line {
	enum vfb_backend backend;
	size_t place;
	uint64_t faults;
	/* Why there are no times to map and unmap, or none at all. */
	char reason[256];
	bool has_space;
};

/* What is measured of a line. */
enum {
	TOUCH,
	MAP,
	UNMAP,
	VALUES,
};

struct bench {
	struct options options;
	struct vfb_ctx *ctx;
	struct vfb_bar bar;
	struct line lines[MAX_LINES];
	struct rounds rounds;
	/* Of the round that goes on. */
	uint64_t map_ns, unmap_ns;
};

static const char doc[] =
	"Map a BAR at addresses that allow pages of 4 KiB, 2 MiB and 1 GiB: how long it takes to "
	"touch all of it, and to map it for other devices and unmap it, with each backend. Linux "
	"6.12 and later map BARs with large pages."
	"\v"
	"The configurations take turns, after an unmeasured run of each. Medians are printed. The "
	"times to map and unmap are those of the system calls.\n"
	"\n" DOC_EXIT;

static const struct argument option_list[] = {
	ARGUMENT_DEVICE,
	{"bar", 'B', "N", "The BAR to map (the largest)", FIELD(NUMBER, bar), .high = MAX_BARS - 1},
	ARGUMENT_REPEAT("Runs of each configuration (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost bench bar",
					   .doc = doc,
					   .all = option_list};

/* ---- One round ---- */

static void note(const struct vfb_event *event, void *data)
{
	struct bench *bench = data;

	if (event->phase == VFB_PHASE_MAP)
		bench->map_ns += event->duration_ns;
	else
		bench->unmap_ns += event->duration_ns;
}

static uint64_t minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* Touches every page, as one that the process uses is. */
static double touch(const char *address, uint64_t bytes, uint64_t *faults)
{
	const volatile char *byte = address;
	double begin = clock_seconds();

	*faults = minor_faults();
	for (uint64_t at = 0; at < bytes; at += BASE)
		(void)byte[at];
	*faults = minor_faults() - *faults;
	return clock_seconds() - begin;
}

static int map_for_devices(struct bench *bench, struct vfb_space *space, struct line *line,
			   double *values)
{
	int error;

	bench->map_ns = bench->unmap_ns = 0;
	error = vfb_bars_map(space, &bench->bar, 1, NULL);
	if (!error && bench->bar.status)
		snprintf(line->reason, sizeof(line->reason), "%s", vfb_last_error());
	if (!error && !bench->bar.status)
		error = vfb_bars_unmap(&bench->bar, 1);
	values[MAP] = bench->map_ns / 1e9;
	values[UNMAP] = bench->unmap_ns / 1e9;
	return complain(error);
}

/* At a place that is reserved for it. */
static int measure_at(struct bench *bench, struct vfb_space *space, char *address,
		      struct line *line, double *values)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	void *mapped;
	int error;

	opts.address = address;
	error = complain(vfb_region_map(bench->bar.device, bench->bar.index, &opts, &mapped));
	if (error)
		return error;
	values[TOUCH] = touch(mapped, bench->bar.bytes, &line->faults);
	return map_for_devices(bench, space, line, values);
}

/* What is mapped for devices is not touched by the process again: it is done anew each time. */
static int measure(void *data, size_t number, double *values)
{
	struct bench *bench = data;
	struct line *line = &bench->lines[number];
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = line->backend};
	uint64_t bytes = bench->bar.bytes + 2 * HUGE;
	struct vfb_space *space;
	char *reserved;
	int error;

	line->has_space = !vfb_space_create(bench->ctx, &opts, &space);
	if (!line->has_space) {
		snprintf(line->reason, sizeof(line->reason), "%s", vfb_last_error());
		return 0;
	}
	reserved = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED) {
		perror("vfioboost: cannot reserve addresses");
		vfb_space_destroy(space);
		return -1;
	}
	error = complain(vfb_device_open(space, bench->options.device, &bench->bar.device));
	if (!error) {
		error = measure_at(bench, space,
				   reserved + (HUGE - (uintptr_t)reserved % HUGE) +
					   places[line->place],
				   line, values);
		vfb_device_close(bench->bar.device);
	}
	munmap(reserved, bytes);
	vfb_space_destroy(space);
	return error;
}

/* ---- All of them ---- */

static void make_lines(struct bench *bench)
{
	for (size_t backend = 0; backend < BACKENDS; backend++)
		for (size_t place = 0; place < PLACES; place++)
			if (place == 0 || bench->bar.bytes >= (place == 1 ? LARGE : HUGE))
				bench->lines[bench->rounds.line_count++] = (struct line){
					.backend = backends[backend],
					.place = place,
				};
}

static int find_bar(struct bench *bench, struct vfb_device *device)
{
	struct vfb_bar bars[MAX_BARS];
	int count = vfb_device_bars(device, bars, MAX_BARS);

	if (count < 0)
		return complain(count);
	for (int i = 0; i < count; i++)
		if (bench->options.bar == MAX_BARS ? bars[i].bytes > bench->bar.bytes :
						     bars[i].index == bench->options.bar)
			bench->bar = bars[i];
	if (bench->bar.bytes)
		return 0;
	fprintf(stderr, "vfioboost: device %s has no such BAR that can be mapped (see lspci -v)\n",
		bench->options.device);
	return -1;
}

static int choose_bar(struct bench *bench)
{
	struct vfb_device *device = NULL;
	struct vfb_space *space;
	int error;

	error = complain(vfb_space_create(bench->ctx, NULL, &space));
	if (error)
		return error;
	error = complain(vfb_device_open(space, bench->options.device, &device));
	if (!error)
		error = find_bar(bench, device);
	vfb_device_close(device);
	vfb_space_destroy(space);
	return error;
}

static int run(struct bench *bench)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscription = NULL;
	int error;

	error = complain(vfb_ctx_create(NULL, &bench->ctx));
	if (error)
		return error;
	filter.phases = VFB_PHASE_BIT(VFB_PHASE_MAP) | VFB_PHASE_BIT(VFB_PHASE_UNMAP);
	error = complain(vfb_subscribe(bench->ctx, &filter, note, bench, &subscription));
	if (!error)
		error = choose_bar(bench);
	if (!error) {
		make_lines(bench);
		error = rounds_run(&bench->rounds, 0, bench->rounds.line_count);
	}
	vfb_unsubscribe(subscription);
	vfb_ctx_destroy(bench->ctx);
	return error;
}

/* ---- Printing ---- */

static const struct column columns[] = {
	{"backend", "backend", -8, 0, 0, NULL},
	{"pages", "pages", -6, 0, 0, NULL},
	{"touch_s", "touch all", 12, 3, 1e3, " ms"},
	{"faults", "faults", 8, 0, 0, NULL},
	{"map_s", "map", 12, 3, 1e3, " ms"},
	{"unmap_s", "unmap", 12, 3, 1e3, " ms"},
	{"reason", "", -1, 0, 0, NULL},
};

static void fill_cells(const void *data, size_t number, struct json_object **cells)
{
	const struct bench *bench = data;
	const struct line *line = &bench->lines[number];

	cells[0] = json_object_new_string(backend_names[line->backend]);
	cells[1] = json_object_new_string(place_names[line->place]);
	if (line->has_space) {
		cells[2] = json_object_new_double(rounds_median(&bench->rounds, number, TOUCH));
		cells[3] = json_object_new_uint64(line->faults);
	}
	if (*line->reason) {
		cells[6] = json_object_new_string(line->reason);
		return;
	}
	cells[4] = json_object_new_double(rounds_median(&bench->rounds, number, MAP));
	cells[5] = json_object_new_double(rounds_median(&bench->rounds, number, UNMAP));
}

static int print(const struct bench *bench)
{
	const struct options *options = &bench->options;
	struct output output;

	output_begin(&output, options->json);
	output_text(&output, "BAR %u of %s, %ju MiB, medians of %u runs\n", bench->bar.index,
		    options->device, (uintmax_t)bench->bar.bytes >> 20, options->repeat);
	output_add(&output, "device", json_object_new_string(options->device));
	output_add(&output, "bar", json_object_new_uint64(bench->bar.index));
	output_add(&output, "bytes", json_object_new_uint64(bench->bar.bytes));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	table_print(&output, "lines", columns, sizeof(columns) / sizeof(columns[0]),
		    bench->rounds.line_count, fill_cells, bench);
	return output_end(&output);
}

int bench_bar(int argc, char **argv)
{
	static struct bench bench = {.options = {.bar = MAX_BARS, .repeat = 5}};
	int status = EXIT_FAILED;

	arguments_parse(&arguments, argc, argv, &bench.options);
	bench.rounds = (struct rounds){0, VALUES, bench.options.repeat, measure, &bench, NULL};
	if (!run(&bench))
		status = print(&bench);
	rounds_free(&bench.rounds);
	return status;
}
