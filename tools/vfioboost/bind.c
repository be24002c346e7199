/* SPDX-License-Identifier: MIT */
/* vfioboost bind, and unbind: the former driver is kept in a file until the device has it back. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vfioboost.h>

#include "arguments.h"
#include "command.h"
#include "output.h"

#define FOLDER "/run/vfioboost"
#define NONE   "none"

struct options {
	bool unbind;
	const char *driver;
	bool force, json;
	const char *devices[MAX_DEVICES];
	size_t device_count;
};

/* What became of a device. */
struct moved {
	struct vfb_pci_info before;
	char driver[64];
};

static const char bind_doc[] =
	"Give PCI devices to vfio-pci, and remember which drivers they had, for vfioboost unbind."
	"\v"
	"A device in use is refused: one with a disk that is mounted, swapped to or part of "
	"another, with a network interface that is up, or that a process has open by VFIO. "
	"Needs root.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const char unbind_doc[] =
	"Give PCI devices back to the drivers that they had before vfioboost bind."
	"\v"
	"Devices that a process has open are refused. Needs root.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const struct argp_option argp_options[] = {
	{"driver", 'D', "NAME", 0,
	 "The driver that is to have them, or none (bind: vfio-pci; unbind: the former one)", 0},
	{"force", 'f', NULL, 0, "Even if they are in use", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'D':
		options->driver = arg;
		return 0;
	case 'f':
		options->force = true;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argument_device(state, options->devices, &options->device_count, arg);
		return 0;
	case ARGP_KEY_END:
		if (!options->device_count)
			argp_error(state, "a device is missing, such as 0000:01:00.0");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void record_path(const char *address, char *path, size_t bytes)
{
	snprintf(path, bytes, FOLDER "/%s.driver", address);
}

/* Remembers the driver of a device, unless one is remembered already. */
static int record(const struct vfb_pci_info *info)
{
	char path[128];
	FILE *file;
	bool written;

	record_path(info->address, path, sizeof(path));
	if (mkdir(FOLDER, 0755) && errno != EEXIST) {
		fprintf(stderr, "vfioboost: cannot make " FOLDER ": %s\n", strerror(errno));
		return -errno;
	}
	file = fopen(path, "wxe");
	if (!file && errno == EEXIST)
		return 0;
	written = file && fprintf(file, "%s\n", info->driver[0] ? info->driver : NONE) > 0;
	if (file && fclose(file))
		written = false;
	if (written)
		return 0;
	fprintf(stderr, "vfioboost: cannot write %s: %s\n", path, strerror(errno));
	return -EIO;
}

static int recall(const char *address, char driver[64])
{
	char path[128];
	FILE *file;
	bool found;

	record_path(address, path, sizeof(path));
	file = fopen(path, "re");
	found = file && fscanf(file, "%63s", driver) == 1;
	if (file)
		fclose(file);
	if (!found)
		fprintf(stderr,
			"vfioboost: it is not known which driver device %s had before (%s is "
			"missing): give --driver\n",
			address, path);
	return found ? 0 : -ENOENT;
}

static int move(struct vfb_ctx *ctx, const struct options *options, const char *address,
		struct moved *moved)
{
	char path[128];
	int error;

	moved->before = (struct vfb_pci_info)VFB_PCI_INFO_INIT;
	error = complain(vfb_pci_info(ctx, address, &moved->before));
	if (error)
		return error;
	if (options->driver)
		snprintf(moved->driver, sizeof(moved->driver), "%s", options->driver);
	else if (!options->unbind)
		snprintf(moved->driver, sizeof(moved->driver), "vfio-pci");
	else
		error = recall(moved->before.address, moved->driver);
	if (!error)
		error = complain(vfb_pci_bind(ctx, address,
					      strcmp(moved->driver, NONE) ? moved->driver : NULL,
					      options->force ? VFB_PCI_BIND_FORCE : 0));
	if (error)
		return error;
	record_path(moved->before.address, path, sizeof(path));
	if (options->unbind)
		unlink(path);
	/* It may have been there before, then nothing is to be restored. */
	else if (strcmp(moved->before.driver, moved->driver))
		error = record(&moved->before);
	return error;
}

static bool print(const struct options *options, const struct moved *moved, size_t count)
{
	struct json_object *object, *devices;

	if (!options->json) {
		for (size_t i = 0; i < count; i++)
			printf("%s  %s -> %s\n", moved[i].before.address,
			       moved[i].before.driver[0] ? moved[i].before.driver : NONE,
			       moved[i].driver);
		return output_flush();
	}
	object = output_object();
	devices = json_object_new_array();
	for (size_t i = 0; i < count; i++) {
		struct json_object *device = json_object_new_object();

		json_object_object_add(device, "device",
				       json_object_new_string(moved[i].before.address));
		json_object_object_add(device, "former_driver",
				       json_object_new_string(moved[i].before.driver));
		json_object_object_add(device, "driver", json_object_new_string(moved[i].driver));
		json_object_array_add(devices, device);
	}
	json_object_object_add(object, "devices", devices);
	return output_json(object);
}

static int run(const struct options *options)
{
	struct vfb_ctx_opts opts = {.size = sizeof(opts), .threads = 1};
	static struct moved moved[MAX_DEVICES];
	struct vfb_ctx *ctx;
	size_t count = 0;
	int error;

	error = complain(vfb_ctx_create(&opts, &ctx));
	if (error)
		return EXIT_FAILED;
	while (count < options->device_count && !error) {
		error = move(ctx, options, options->devices[count], &moved[count]);
		count += !error;
	}
	vfb_ctx_destroy(ctx);
	if (!print(options, moved, count)) {
		perror("vfioboost: cannot write the results");
		return EXIT_FAILED;
	}
	return error ? EXIT_FAILED : EXIT_OK;
}

int command_bind(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, "BDF...", bind_doc,
					 NULL,	       NULL,	     NULL};
	static char name[] = "vfioboost bind";
	struct options options = {0};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return run(&options);
}

int command_unbind(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, "BDF...", unbind_doc,
					 NULL,	       NULL,	     NULL};
	static char name[] = "vfioboost unbind";
	struct options options = {.unbind = true};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return run(&options);
}
