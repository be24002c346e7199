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

/* Devices of a host; and of those that block one, as many as are named. */
#define MAX_HOST     4096
#define MAX_BLOCKERS 8
/* The base class in class_code. */
#define BRIDGE_CLASS 0x06

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
	/* Other devices of its group that keep it from being opened. */
	struct vfb_pci_info blockers[MAX_BLOCKERS];
	size_t blocker_count;
};

static const char bind_doc[] =
	"Bind PCI devices to vfio-pci, and record their drivers for vfioboost unbind."
	"\v"
	"A device is refused while it is in use: if a disk of it is mounted (in any mount "
	"namespace), used for swap or part of another block device, if a network interface of it "
	"is up, part of another or in another network namespace, if it has virtual functions, or "
	"if a process has it open, through VFIO or by a file of its driver such as /dev/nvme0 or "
	"/dev/dri/card0. Needs root.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const char unbind_doc[] =
	"Bind PCI devices to the drivers that they had before vfioboost bind."
	"\v"
	"Devices in use are refused, as by vfioboost bind. Needs root.\n"
	"\n"
	"Exit status: 0 on success, 1 on failure, 2 on bad usage.";

static const struct argp_option argp_options[] = {
	{"driver", 'D', "NAME", 0,
	 "Bind them to this driver, or to none (bind: vfio-pci; unbind: the former one)", 0},
	{"force", 'f', NULL, 0, "Bind the devices even if they are in use", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t bind_parse_option(int key, char *arg, struct argp_state *state)
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

static int complain_file(const char *what, const char *path)
{
	int error = errno ? -errno : -EIO;

	fprintf(stderr, "vfioboost: cannot %s %s: %s; no device was moved\n", what, path,
		strerror(-error));
	return error;
}

/* Records the driver of a device, unless one is recorded already. */
static int record(const struct vfb_pci_info *info, bool *is_new)
{
	char path[128];
	FILE *file;
	int error = 0;

	record_path(info->address, path, sizeof(path));
	if (mkdir(FOLDER, 0755) && errno != EEXIST)
		return complain_file("make", FOLDER);
	file = fopen(path, "wxe");
	if (!file)
		return errno == EEXIST ? 0 : complain_file("write", path);
	*is_new = true;
	if (fprintf(file, "%s\n", info->driver[0] ? info->driver : NONE) < 0)
		error = complain_file("write", path);
	if (fclose(file) && !error)
		error = complain_file("write", path);
	return error;
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

static int choose_driver(const struct options *options, struct moved *moved)
{
	if (!options->driver && options->unbind)
		return recall(moved->before.address, moved->driver);
	snprintf(moved->driver, sizeof(moved->driver), "%s",
		 options->driver ? options->driver : "vfio-pci");
	return 0;
}

/* Before it moves, its driver is recorded: where that cannot be, nothing could undo the move. */
static int move_device(struct vfb_ctx *ctx, const struct options *options, const char *address,
		       struct moved *moved)
{
	bool is_new = false;
	char path[128];
	int error;

	moved->before = (struct vfb_pci_info)VFB_PCI_INFO_INIT;
	error = complain(vfb_pci_info(ctx, address, &moved->before));
	if (!error)
		error = choose_driver(options, moved);
	if (error)
		return error;
	/* One that has the driver already moves nowhere. */
	if (!options->unbind && strcmp(moved->before.driver, moved->driver))
		error = record(&moved->before, &is_new);
	if (!error)
		error = complain(vfb_pci_bind(ctx, address,
					      strcmp(moved->driver, NONE) ? moved->driver : NULL,
					      options->force ? VFB_PCI_BIND_FORCE : 0));
	record_path(moved->before.address, path, sizeof(path));
	if (error ? is_new : options->unbind)
		unlink(path);
	return error;
}

/*
 * What keeps the group of the device from being used: a driver of the host has another device of
 * it (iommu_device_use_default_domain()); ports have drivers that leave DMA alone.
 */
static bool blocks(const struct vfb_pci_info *other, const struct moved *moved)
{
	return other->group >= 0 && other->group == moved->before.group &&
	       strcmp(other->address, moved->before.address) && other->driver[0] &&
	       !strstr(other->driver, "vfio") && strcmp(other->driver, "pci-stub") &&
	       other->class_code >> 16 != BRIDGE_CLASS;
}

static void find_blockers(struct vfb_ctx *ctx, struct moved *moved, size_t count)
{
	static char addresses[MAX_HOST][VFB_PCI_ADDRESS_BYTES];
	int found = vfb_pci_list(ctx, addresses, MAX_HOST);

	for (int i = 0; i < found && i < MAX_HOST; i++) {
		struct vfb_pci_info other = VFB_PCI_INFO_INIT;

		if (vfb_pci_info(ctx, addresses[i], &other))
			continue;
		for (size_t n = 0; n < count; n++)
			if (strstr(moved[n].driver, "vfio") &&
			    moved[n].blocker_count < MAX_BLOCKERS && blocks(&other, &moved[n]))
				moved[n].blockers[moved[n].blocker_count++] = other;
	}
}

static void print_blockers(const struct moved *moved)
{
	for (size_t i = 0; i < moved->blocker_count; i++)
		fprintf(stderr,
			"vfioboost: %s cannot be opened while %s, of its IOMMU group %d too, is "
			"bound to %s: vfioboost bind %s\n",
			moved->before.address, moved->blockers[i].address, moved->before.group,
			moved->blockers[i].driver, moved->blockers[i].address);
}

static struct json_object *json_blockers(const struct moved *moved)
{
	struct json_object *blockers = json_object_new_array();

	for (size_t i = 0; i < moved->blocker_count; i++)
		json_object_array_add(blockers, json_object_new_string(moved->blockers[i].address));
	return blockers;
}

static bool print_moved(const struct options *options, const struct moved *moved, size_t count)
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
		json_object_object_add(device, "blocked_by", json_blockers(&moved[i]));
		json_object_array_add(devices, device);
	}
	json_object_object_add(object, "devices", devices);
	return output_json(object);
}

static int bind_all(const struct options *options)
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
		error = move_device(ctx, options, options->devices[count], &moved[count]);
		count += !error;
	}
	find_blockers(ctx, moved, count);
	for (size_t i = 0; i < count; i++)
		print_blockers(&moved[i]);
	vfb_ctx_destroy(ctx);
	if (!print_moved(options, moved, count)) {
		perror("vfioboost: cannot write the results");
		return EXIT_FAILED;
	}
	return error ? EXIT_FAILED : EXIT_OK;
}

int command_bind(int argc, char **argv)
{
	static const struct argp argp = {argp_options, bind_parse_option,
					 "BDF...",     bind_doc,
					 NULL,	       NULL,
					 NULL};
	static char name[] = "vfioboost bind";
	struct options options = {0};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return bind_all(&options);
}

int command_unbind(int argc, char **argv)
{
	static const struct argp argp = {argp_options, bind_parse_option,
					 "BDF...",     unbind_doc,
					 NULL,	       NULL,
					 NULL};
	static char name[] = "vfioboost unbind";
	struct options options = {.unbind = true};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return bind_all(&options);
}
