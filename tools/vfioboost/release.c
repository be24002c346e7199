/* SPDX-License-Identifier: MIT */
/*
 * vfioboost release: how long it takes to release devices, each way in a process of its own, as
 * a VMM would be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "program.h"
#include "statistics.h"

enum mode {
	MODE_EXIT,
	MODE_CLOSE,
	MODE_THREADS,
	MODE_FORK,
	MODE_REAPER,
	MODES,
};

static const char *const mode_names[] = {"exit", "close", "threads", "fork", "reaper", NULL};

struct options {
	enum vfb_backend backend;
	struct device_list devices;
	struct number_list modes;
	unsigned int repeat;
	bool json;
};

static const char doc[] =
	"Open devices and measure how long it takes to release them, each way in turn, in a process "
	"of its own."
	"\v"
	"Modes (all of them by default):\n"
	"  exit     the process exits, and the kernel closes the devices\n"
	"  close    the process closes them one after another\n"
	"  threads  the process closes them in parallel, as this library does\n"
	"  fork     one process per device; all of them exit at the same time\n"
	"  reaper   the process exits, and a helper process closes them afterwards; the time until "
	"all are free is printed as well\n"
	"\n" DOC_EXIT;

static const struct argument option_list[] = {
	{"mode", 'M', "exit|close|threads|fork|reaper[,...]", "How to release them",
	 FIELD(CHOICES, modes), .names = mode_names},
	{"device", 'd', "BDF", "A PCI device bound to vfio-pci; may be repeated",
	 FIELD(DEVICE, devices), .is_required = true},
	{"backend", 'b', "auto|type1|iommufd|spapr", "The kernel interface to use (auto)",
	 FIELD(CHOICE, backend), .names = backend_names},
	ARGUMENT_REPEAT("Runs of each mode (1)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments = {.command = "vfioboost release",
					   .doc = doc,
					   .all = option_list};

/* ---- In the process that releases the devices ---- */

struct holder {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	size_t count;
	struct vfb_device *devices[MAX_DEVICES];
};

static void hold(const struct options *options, struct holder *holder)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = options->backend};
	struct vfb_device_request requests[MAX_DEVICES] = {0};

	holder->count = options->devices.count;
	for (size_t i = 0; i < holder->count; i++)
		requests[i].address = options->devices.all[i];
	if (vfb_ctx_create(NULL, &holder->ctx) ||
	    vfb_space_create(holder->ctx, &opts, &holder->space) ||
	    vfb_devices_open(holder->space, requests, holder->count, NULL)) {
		fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
		_exit(EXIT_FAILED);
	}
	for (size_t i = 0; i < holder->count; i++)
		holder->devices[i] = requests[i].device;
}

/* In a process that shall keep one device: waits until all others have released it. */
static void keep_one(const int *fds, size_t count, size_t mine, const int ready[2], const int go[2])
{
	char byte = 0;

	for (size_t i = 0; i < count; i++)
		if (i != mine)
			close(fds[i]);
	close(go[1]);
	if (write(ready[1], &byte, 1) != 1)
		_exit(EXIT_FAILED);
	/* Its end comes when the parent closes the other one. */
	_exit(read(go[0], &byte, 1) ? EXIT_FAILED : EXIT_OK);
}

static void let_go_by_fork(const struct holder *holder)
{
	struct vfb_device_info info = VFB_DEVICE_INFO_INIT;
	int fds[MAX_DEVICES], ready[2], go[2];
	char byte;

	if (pipe(ready) || pipe(go))
		_exit(EXIT_FAILED);
	for (size_t i = 0; i < holder->count; i++) {
		vfb_device_info(holder->devices[i], &info);
		fds[i] = info.fd;
	}
	for (size_t i = 0; i < holder->count; i++)
		if (fork() == 0)
			keep_one(fds, holder->count, i, ready, go);
	for (size_t i = 0; i < holder->count; i++)
		close(fds[i]);
	for (size_t i = 0; i < holder->count; i++)
		if (read(ready[0], &byte, 1) != 1)
			_exit(EXIT_FAILED);
	close(go[1]);
	while (wait(NULL) > 0)
		;
}

/* Its report goes to who measures. */
static void start_reaper(const struct holder *holder, int report)
{
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct vfb_reaper *reaper;
	char path[PATH_MAX];

	opts.program = program_beside("../reaper/vfioboost-reaper", path);
	opts.report_fd = report;
	opts.flags = VFB_REAPER_HAS_REPORT_FD;
	if (!vfb_reaper_start(holder->devices, holder->count, &opts, &reaper))
		return;
	fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
	_exit(EXIT_FAILED);
}

static void let_go(const struct options *options, enum mode mode, int times)
{
	struct vfb_batch_opts in_turn = {.size = sizeof(in_turn), .width = 1};
	struct holder holder;
	double begin;

	hold(options, &holder);
	if (mode == MODE_REAPER)
		start_reaper(&holder, times);
	begin = clock_seconds();
	if (write(times, &begin, sizeof(begin)) != sizeof(begin))
		_exit(EXIT_FAILED);
	switch (mode) {
	case MODE_CLOSE:
		vfb_devices_close(holder.devices, holder.count, &in_turn);
		break;
	case MODE_THREADS:
		vfb_devices_close(holder.devices, holder.count, NULL);
		break;
	case MODE_FORK:
		let_go_by_fork(&holder);
		break;
	default:
		break;
	}
	_exit(EXIT_OK);
}

/* ---- In the process that measures ---- */

/* What a reaper reports is not looked at, only its end. */
static void wait_for_reaper(int report)
{
	char text[256];

	while (read(report, text, sizeof(text)) > 0)
		;
}

/*
 * Seconds from the beginning of the release until the process is gone, with its devices; and
 * until the reaper has ended, if there is one.
 */
static int measure_release(const struct options *options, enum mode mode, double *seconds,
			   double *released)
{
	int times[2], status = 0;
	double begin = 0;
	ssize_t length;
	pid_t child;

	if (pipe(times)) {
		perror("vfioboost: pipe");
		return -1;
	}
	child = fork();
	if (child == 0)
		let_go(options, mode, times[1]);
	close(times[1]);
	length = child > 0 ? read(times[0], &begin, sizeof(begin)) : -1;
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		perror("vfioboost: fork");
		close(times[0]);
		return -1;
	}
	*seconds = clock_seconds() - begin;
	wait_for_reaper(times[0]);
	*released = clock_seconds() - begin;
	close(times[0]);
	/* It has said why. */
	return length == sizeof(begin) && WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

static void print_one(struct json_object *object, const char *name, double seconds)
{
	char key[32];

	if (!object) {
		printf("%-16s %8.4f s\n", name, seconds);
		return;
	}
	snprintf(key, sizeof(key), "%s_s", name);
	json_object_object_add(object, key, json_object_new_double(seconds));
}

static bool print_release(const struct options *options, double (*times)[MAX_REPEAT],
			  double *released)
{
	struct json_object *object = NULL;

	if (options->json)
		object = output_object();
	else
		printf("release of %zu devices, medians of %u runs\n", options->devices.count,
		       options->repeat);
	for (size_t i = 0; i < options->modes.count; i++) {
		print_one(object, mode_names[options->modes.all[i]],
			  median(times[i], options->repeat));
		if (options->modes.all[i] == MODE_REAPER)
			print_one(object, "reaper_released", median(released, options->repeat));
	}
	if (!options->json)
		return output_flush();
	json_object_object_add(object, "devices", json_object_new_int64(options->devices.count));
	json_object_object_add(object, "repeat", json_object_new_int(options->repeat));
	return output_json(object);
}

int command_release(int argc, char **argv)
{
	static double times[MODES][MAX_REPEAT], released[MODES][MAX_REPEAT];
	double *by_reaper = NULL;
	struct options options = {.repeat = 1};

	arguments_parse(&arguments, argc, argv, &options);
	if (!options.modes.count)
		for (enum mode mode = MODE_EXIT; mode < MODES; mode++)
			options.modes.all[options.modes.count++] = mode;
	for (unsigned int run = 0; run < options.repeat; run++)
		for (size_t i = 0; i < options.modes.count; i++)
			if (measure_release(&options, options.modes.all[i], &times[i][run],
					    &released[i][run]))
				return EXIT_FAILED;
	for (size_t i = 0; i < options.modes.count; i++)
		if (options.modes.all[i] == MODE_REAPER)
			by_reaper = released[i];
	return output_status(print_release(&options, times, by_reaper));
}
