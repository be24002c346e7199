/* SPDX-License-Identifier: MIT */
/* vfioboost bench open, and close: one device, all at once, all in turn, taking turns. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "statistics.h"

enum way {
	ONE,
	PARALLEL,
	SERIAL,
	WAYS,
};

static const char *const way_names[WAYS] = {"one", "parallel", "serial"};

struct options {
	const char *what;
	enum vfb_backend backend;
	const char *devices[MAX_DEVICES];
	size_t device_count;
	unsigned int repeat;
	bool json;
};

/* Seconds of each run. */
struct times {
	double open[WAYS][MAX_REPEAT], close[WAYS][MAX_REPEAT];
};

static const char doc[] =
	"Open and close devices: one of them, all at the same time, and all one after another. "
	"Prints the medians, and how they compare with one device."
	"\v"
	"The three take turns, and each is run once beforehand, uncounted.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const struct argp_option argp_options[] = {
	{"device", 'd', "BDF", 0, "A PCI device bound to vfio-pci; to be repeated", 0},
	{"backend", 'b', "auto|type1|iommufd", 0, "The kernel's interface (auto)", 0},
	{"repeat", 'r', "N", 0, "Runs of each (5)", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'd':
		argument_device(state, options->devices, &options->device_count, arg);
		return 0;
	case 'b':
		options->backend = argument_choice(state, "backend", arg, backend_names);
		return 0;
	case ARGP_KEY_END:
		if (!options->device_count)
			argp_error(state, "--device is missing");
		return 0;
	default:
		return argument_bench(key, arg, state, &options->repeat, &options->json);
	}
}

/* Opens and closes once; seconds of each. */
static int run_once(const struct options *options, struct vfb_space *space, enum way way,
		    double *open, double *close)
{
	struct vfb_batch_opts opts = {.size = sizeof(opts), .width = way == SERIAL};
	struct vfb_device_request requests[MAX_DEVICES] = {0};
	size_t count = way == ONE ? 1 : options->device_count;
	struct vfb_device *devices[MAX_DEVICES];
	double begin;
	int error;

	for (size_t i = 0; i < count; i++)
		requests[i].address = options->devices[i];
	begin = clock_seconds();
	error = complain(vfb_devices_open(space, requests, count, &opts));
	*open = clock_seconds() - begin;
	for (size_t i = 0; i < count; i++)
		devices[i] = requests[i].device;
	begin = clock_seconds();
	if (!error)
		error = complain(vfb_devices_close(devices, count, &opts));
	*close = clock_seconds() - begin;
	return error;
}

static int run_all(const struct options *options, struct times *times)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = options->backend};
	struct vfb_space *space = NULL;
	struct vfb_ctx *ctx;
	double unused[2];
	int error;

	error = complain(vfb_ctx_create(NULL, &ctx));
	if (error)
		return error;
	error = complain(vfb_space_create(ctx, &opts, &space));
	for (enum way way = ONE; way < WAYS && !error; way++)
		error = run_once(options, space, way, &unused[0], &unused[1]);
	for (unsigned int i = 0; i < options->repeat; i++)
		for (enum way way = ONE; way < WAYS && !error; way++)
			error = run_once(options, space, way, &times->open[way][i],
					 &times->close[way][i]);
	vfb_space_destroy(space);
	vfb_ctx_destroy(ctx);
	return error;
}

static bool print(const struct options *options, double (*times)[MAX_REPEAT])
{
	double seconds[WAYS];
	struct json_object *object;
	char name[32];

	for (enum way way = ONE; way < WAYS; way++)
		seconds[way] = median(times[way], options->repeat);
	if (!options->json) {
		printf("%s %zu devices, medians of %u runs\n", options->what, options->device_count,
		       options->repeat);
		for (enum way way = ONE; way < WAYS; way++)
			printf("%-9s %8.4f s  %6.2f x one\n", way_names[way], seconds[way],
			       seconds[way] / seconds[ONE]);
		printf("serial / parallel: %.2f\n", seconds[SERIAL] / seconds[PARALLEL]);
		return output_flush();
	}
	object = output_object();
	json_object_object_add(object, "devices", json_object_new_int64(options->device_count));
	json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
	for (enum way way = ONE; way < WAYS; way++) {
		snprintf(name, sizeof(name), "%s_s", way_names[way]);
		json_object_object_add(object, name, json_object_new_double(seconds[way]));
	}
	json_object_object_add(object, "parallel_by_one",
			       json_object_new_double(seconds[PARALLEL] / seconds[ONE]));
	json_object_object_add(object, "serial_by_parallel",
			       json_object_new_double(seconds[SERIAL] / seconds[PARALLEL]));
	return output_json(object);
}

static int bench(int argc, char **argv, char *name, const char *what, bool closing)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	struct options options = {.what = what, .repeat = 5};
	static struct times times;
	bool written;

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	if (run_all(&options, &times))
		return EXIT_FAILED;
	written = print(&options, closing ? times.close : times.open);
	if (!written)
		perror("vfioboost: cannot write the results");
	return written ? EXIT_OK : EXIT_FAILED;
}

int bench_open(int argc, char **argv)
{
	static char name[] = "vfioboost bench open";

	return bench(argc, argv, name, "open", false);
}

int bench_close(int argc, char **argv)
{
	static char name[] = "vfioboost bench close";

	return bench(argc, argv, name, "close", true);
}
