/* SPDX-License-Identifier: MIT */
/* vfioboost bench bar: a BAR mapped at addresses that admit small pages, and large ones. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "statistics.h"

#define BASE	 ((uint64_t)4 << 10)
#define LARGE	 ((uint64_t)2 << 20)
#define HUGE	 ((uint64_t)1 << 30)
#define BACKENDS 2
#define PLACES	 3

/* How far the address is from a multiple of 1 GiB, and the pages that leaves possible. */
static const uint64_t places[PLACES] = {BASE, LARGE, 0};
static const char *const place_names[PLACES] = {"4k", "2m", "1g"};
static const enum vfb_backend backends[BACKENDS] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

struct options {
	const char *device;
	/* -1: the largest. */
	int bar;
	unsigned int repeat;
	bool json;
};

/* A line of the table: a backend and a place. */
struct line {
	double touch[MAX_REPEAT], map[MAX_REPEAT], unmap[MAX_REPEAT];
	uint64_t faults;
	/* Why there are no times. */
	char reason[256];
};

struct bench {
	const struct options *options;
	struct vfb_ctx *ctx;
	struct vfb_bar bar;
	struct line lines[BACKENDS][PLACES];
	/* Of the run that goes on. */
	uint64_t map_ns, unmap_ns;
};

static const char doc[] =
	"Map a BAR at addresses that are congruent to it for pages of 4 KiB, 2 MiB and 1 GiB: how "
	"long it takes to touch all of it, and to map it for other devices and unmap it, by each "
	"backend. The kernel maps a BAR with large pages from Linux 6.12 on."
	"\v"
	"The lines take turns. Medians are printed. The times to map and unmap are those of the "
	"kernel's calls.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const struct argp_option argp_options[] = {
	{"device", 'd', "BDF", 0, "A PCI device bound to vfio-pci, as 0000:01:00.0 (required)", 0},
	{"bar", 'B', "N", 0, "Which BAR (the largest)", 0},
	{"repeat", 'r', "N", 0, "Runs of each line (5)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'd':
		options->device = arg;
		return 0;
	case 'B':
		options->bar = argument_number(state, "bar", arg, 0, 5);
		return 0;
	case ARGP_KEY_END:
		if (!options->device)
			argp_error(state, "--device is missing");
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

/* ---- One run ---- */

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
			   unsigned int run)
{
	int error;

	bench->map_ns = bench->unmap_ns = 0;
	error = vfb_bars_map(space, &bench->bar, 1, NULL);
	if (!error && bench->bar.status)
		snprintf(line->reason, sizeof(line->reason), "%s", vfb_last_error());
	if (!error && !bench->bar.status)
		error = vfb_bars_unmap(&bench->bar, 1);
	line->map[run] = bench->map_ns / 1e9;
	line->unmap[run] = bench->unmap_ns / 1e9;
	return complain(error);
}

/* At a place that is reserved for it. */
static int run_at(struct bench *bench, struct vfb_space *space, char *address, struct line *line,
		  unsigned int run)
{
	struct vfb_region_map_opts opts = VFB_REGION_MAP_OPTS_INIT;
	void *mapped;
	int error;

	opts.address = address;
	error = complain(vfb_region_map(bench->bar.device, bench->bar.index, &opts, &mapped));
	if (error)
		return error;
	line->touch[run] = touch(mapped, bench->bar.bytes, &line->faults);
	return map_for_devices(bench, space, line, run);
}

/* What is mapped for devices is not touched by the process again: it is done anew each time. */
static int run_line(struct bench *bench, size_t backend, size_t place, unsigned int run)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = backends[backend]};
	struct line *line = &bench->lines[backend][place];
	uint64_t bytes = bench->bar.bytes + 2 * HUGE;
	struct vfb_space *space;
	char *reserved;
	int error;

	if (vfb_space_create(bench->ctx, &opts, &space)) {
		snprintf(line->reason, sizeof(line->reason), "%s", vfb_last_error());
		return 0;
	}
	reserved = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED) {
		perror("vfioboost: cannot reserve addresses");
		vfb_space_destroy(space);
		return -1;
	}
	error = complain(vfb_device_open(space, bench->options->device, &bench->bar.device));
	if (!error) {
		error = run_at(bench, space,
			       reserved + (HUGE - (uintptr_t)reserved % HUGE) + places[place], line,
			       run);
		vfb_device_close(bench->bar.device);
	}
	munmap(reserved, bytes);
	vfb_space_destroy(space);
	return error;
}

/* ---- All of them ---- */

static bool is_possible(const struct bench *bench, size_t place)
{
	return place == 0 || bench->bar.bytes >= (place == 1 ? LARGE : HUGE);
}

static int find_bar(struct bench *bench, struct vfb_device *device)
{
	struct vfb_bar bars[6];
	int count = vfb_device_bars(device, bars, 6);

	if (count < 0)
		return complain(count);
	for (int i = 0; i < count; i++)
		if (bench->options->bar < 0 ? bars[i].bytes > bench->bar.bytes :
					      bars[i].index == (unsigned int)bench->options->bar)
			bench->bar = bars[i];
	if (bench->bar.bytes)
		return 0;
	fprintf(stderr, "vfioboost: device %s has no such BAR that can be mapped (see lspci -v)\n",
		bench->options->device);
	return -1;
}

static int look(struct bench *bench)
{
	struct vfb_device *device = NULL;
	struct vfb_space *space;
	int error;

	error = complain(vfb_space_create(bench->ctx, NULL, &space));
	if (error)
		return error;
	error = complain(vfb_device_open(space, bench->options->device, &device));
	if (!error)
		error = find_bar(bench, device);
	vfb_device_close(device);
	vfb_space_destroy(space);
	return error;
}

static int run_all(struct bench *bench)
{
	struct vfb_filter filter = VFB_FILTER_INIT;
	struct vfb_subscription *subscription;
	int error;

	filter.phases = VFB_PHASE_BIT(VFB_PHASE_MAP) | VFB_PHASE_BIT(VFB_PHASE_UNMAP);
	error = complain(vfb_subscribe(bench->ctx, &filter, note, bench, &subscription));
	if (error)
		return error;
	error = look(bench);
	for (unsigned int run = 0; run < bench->options->repeat; run++)
		for (size_t backend = 0; backend < BACKENDS; backend++)
			for (size_t place = 0; place < PLACES && !error; place++)
				if (is_possible(bench, place))
					error = run_line(bench, backend, place, run);
	vfb_unsubscribe(subscription);
	return error;
}

/* ---- Printing ---- */

static void print_line(struct bench *bench, size_t backend, size_t place)
{
	struct line *line = &bench->lines[backend][place];
	unsigned int repeat = bench->options->repeat;

	printf("%-8s %-6s ", backend_names[backends[backend]], place_names[place]);
	if (line->touch[0])
		printf("%9.3f ms %8llu ", 1e3 * median(line->touch, repeat),
		       (unsigned long long)line->faults);
	if (line->reason[0])
		printf("%s\n", line->reason);
	else
		printf("%9.3f ms %9.3f ms\n", 1e3 * median(line->map, repeat),
		       1e3 * median(line->unmap, repeat));
}

static struct json_object *line_object(struct bench *bench, size_t backend, size_t place)
{
	struct json_object *object = json_object_new_object();
	struct line *line = &bench->lines[backend][place];
	unsigned int repeat = bench->options->repeat;

	json_object_object_add(object, "backend",
			       json_object_new_string(backend_names[backends[backend]]));
	json_object_object_add(object, "pages", json_object_new_string(place_names[place]));
	json_object_object_add(object, "touch_s",
			       json_object_new_double(median(line->touch, repeat)));
	json_object_object_add(object, "faults", json_object_new_uint64(line->faults));
	if (line->reason[0]) {
		json_object_object_add(object, "reason", json_object_new_string(line->reason));
		return object;
	}
	json_object_object_add(object, "map_s", json_object_new_double(median(line->map, repeat)));
	json_object_object_add(object, "unmap_s",
			       json_object_new_double(median(line->unmap, repeat)));
	return object;
}

static bool print(struct bench *bench)
{
	const struct options *options = bench->options;
	struct json_object *object = NULL, *lines = NULL;

	if (options->json) {
		object = output_object();
		lines = json_object_new_array();
		json_object_object_add(object, "device", json_object_new_string(options->device));
		json_object_object_add(object, "bar", json_object_new_int(bench->bar.index));
		json_object_object_add(object, "bytes", json_object_new_uint64(bench->bar.bytes));
		json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
		json_object_object_add(object, "lines", lines);
	} else {
		printf("BAR %u of %s, %llu MiB, medians of %u runs\n", bench->bar.index,
		       options->device, (unsigned long long)bench->bar.bytes >> 20,
		       options->repeat);
		printf("%-8s %-6s %12s %8s %12s %12s\n", "backend", "pages", "touch all", "faults",
		       "map", "unmap");
	}
	for (size_t backend = 0; backend < BACKENDS; backend++)
		for (size_t place = 0; place < PLACES; place++) {
			if (!is_possible(bench, place))
				continue;
			if (lines)
				json_object_array_add(lines, line_object(bench, backend, place));
			else
				print_line(bench, backend, place);
		}
	return object ? output_json(object) : output_flush();
}

int bench_bar(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	static char name[] = "vfioboost bench bar";
	struct options options = {.bar = -1, .repeat = 5};
	static struct bench bench;
	bool written = true;
	int error;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	bench.options = &options;
	error = complain(vfb_ctx_create(NULL, &bench.ctx));
	if (!error) {
		error = run_all(&bench);
		vfb_ctx_destroy(bench.ctx);
	}
	if (!error)
		written = print(&bench);
	if (!written)
		perror("vfioboost: cannot write the results");
	return error || !written ? EXIT_FAILED : EXIT_OK;
}
