/* SPDX-License-Identifier: MIT */
/* vfioboost bench open, and close: one device, all at once, and all one after another. */
#include <stdio.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"

/* The lines. */
enum way {
	ONE,
	PARALLEL,
	SERIAL,
	WAYS,
};

/* What is measured of each. */
enum {
	OPEN,
	CLOSE,
	VALUES,
};

static const char *const way_names[WAYS] = {"one", "parallel", "serial"};

struct options {
	enum vfb_backend backend;
	struct device_list devices;
	unsigned int repeat;
	bool json;
};

struct bench {
	struct options options;
	struct vfb_space *space;
};

#define DOC                                                                                 \
	"Open and close devices: one of them, all in parallel, and all one after another. " \
	"Prints the medians, and their ratios to one device."                               \
	"\v"                                                                                \
	"The three take turns, after an unmeasured run of each.\n"                          \
	"\n" DOC_EXIT

static const struct argument option_list[] = {
	{"device", 'd', "BDF", "A PCI device bound to vfio-pci; may be repeated",
	 FIELD(DEVICE, devices), .is_required = true},
	{"backend", 'b', "auto|type1|iommufd|spapr", "The kernel interface to use (auto)",
	 FIELD(CHOICE, backend), .names = backend_names},
	ARGUMENT_REPEAT("Runs of each (5)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments bench_open_arguments = {.command = "vfioboost bench open",
						      .doc = DOC,
						      .all = option_list};
static const struct arguments bench_close_arguments = {.command = "vfioboost bench close",
						       .doc = DOC,
						       .all = option_list};

/* Opens and closes once. */
static int measure(void *data, size_t way, double *values)
{
	const struct bench *bench = data;
	const struct device_list *names = &bench->options.devices;
	struct vfb_batch_opts opts = {.size = sizeof(opts), .width = way == SERIAL};
	struct vfb_device_request requests[MAX_DEVICES] = {0};
	size_t count = way == ONE ? 1 : names->count;
	struct vfb_device *devices[MAX_DEVICES];
	double begin;
	int error;

	for (size_t i = 0; i < count; i++)
		requests[i].address = names->all[i];
	begin = clock_seconds();
	error = complain(vfb_devices_open(bench->space, requests, count, &opts));
	values[OPEN] = clock_seconds() - begin;
	for (size_t i = 0; i < count; i++)
		devices[i] = requests[i].device;
	begin = clock_seconds();
	if (!error)
		error = complain(vfb_devices_close(devices, count, &opts));
	values[CLOSE] = clock_seconds() - begin;
	return error;
}

static int run(struct bench *bench, struct rounds *rounds)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = bench->options.backend};
	struct vfb_ctx *ctx;
	int error;

	error = complain(vfb_ctx_create(NULL, &ctx));
	if (error)
		return error;
	error = complain(vfb_space_create(ctx, &opts, &bench->space));
	if (!error)
		error = rounds_run(rounds, 0, rounds->line_count);
	vfb_space_destroy(bench->space);
	vfb_ctx_destroy(ctx);
	return error;
}

static int print(const struct options *options, const char *what, const double *seconds)
{
	struct output output;
	char name[32];

	output_begin(&output, options->json);
	output_text(&output, "%s %zu devices, medians of %u runs\n", what, options->devices.count,
		    options->repeat);
	output_add(&output, "devices", json_object_new_uint64(options->devices.count));
	output_add(&output, "repeat", json_object_new_uint64(options->repeat));
	for (enum way way = ONE; way < WAYS; way++) {
		snprintf(name, sizeof(name), "%s_s", way_names[way]);
		output_add(&output, name, json_object_new_double(seconds[way]));
		output_text(&output, "%-9s %8.4f s  %6.2f x one\n", way_names[way], seconds[way],
			    seconds[way] / seconds[ONE]);
	}
	output_add(&output, "parallel_by_one",
		   json_object_new_double(seconds[PARALLEL] / seconds[ONE]));
	output_add(&output, "serial_by_parallel",
		   json_object_new_double(seconds[SERIAL] / seconds[PARALLEL]));
	output_text(&output, "serial / parallel: %.2f\n", seconds[SERIAL] / seconds[PARALLEL]);
	return output_end(&output);
}

static int bench_devices(const struct arguments *arguments, int argc, char **argv, const char *what,
			 size_t value)
{
	struct bench bench = {.options = {.repeat = 5}};
	struct rounds rounds = {WAYS, VALUES, 0, measure, &bench, NULL};
	double seconds[WAYS];
	int status = EXIT_FAILED;

	arguments_parse(arguments, argc, argv, &bench.options);
	rounds.repeat = bench.options.repeat;
	if (!run(&bench, &rounds)) {
		for (enum way way = ONE; way < WAYS; way++)
			seconds[way] = rounds_median(&rounds, way, value);
		status = print(&bench.options, what, seconds);
	}
	rounds_free(&rounds);
	return status;
}

int bench_open(int argc, char **argv)
{
	return bench_devices(&bench_open_arguments, argc, argv, "open", OPEN);
}

int bench_close(int argc, char **argv)
{
	return bench_devices(&bench_close_arguments, argc, argv, "close", CLOSE);
}
