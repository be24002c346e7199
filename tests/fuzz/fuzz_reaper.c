/* SPDX-License-Identifier: MIT */
/*
 * The arguments of the reaper: whatever they are, and those that the library passes for devices
 * that share resets. Each device that is accepted must be closed exactly once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "../../tools/reaper/arguments.h"
#include "device/reaper.h"
#include "device/reset_set.h"
#include "input.h"

#define MOST 40

static void check(bool right)
{
	if (!right)
		abort();
}

/* As close_all() does: a thread for each first device of a set. */
static void close_all(const struct reaper_arguments *arguments)
{
	unsigned int closed[REAPER_MAX_DEVICES] = {0};

	for (size_t first = 0; first < arguments->count; first++) {
		if (arguments->devices[first].set != first)
			continue;
		for (size_t i = first; i < arguments->count; i++)
			closed[i] += arguments->devices[i].set == first;
	}
	for (size_t i = 0; i < arguments->count; i++)
		check(closed[i] == 1);
}

static void parse_anything(struct input *input)
{
	static const char *const words[] = {"report", "silent", "1", "0@0000:01:00.0",
					    "1@0000:02:00.0"};
	static struct reaper_arguments arguments;
	char text[MOST][48], *argv[MOST + 1];
	int argc = input_below(input, MOST);

	for (int i = 0; i < argc; i++) {
		unsigned int choice = input_below(input, 16);

		if (choice < 5)
			strcpy(text[i], words[choice]);
		else if (choice < 12)
			snprintf(text[i], sizeof(text[i]), "%u@0000:%02x:00.0",
				 input_below(input, i + 1), i);
		else
			input_read(input, text[i], sizeof(text[i]));
		text[i][sizeof(text[i]) - 1] = '\0';
		argv[i] = text[i];
	}
	argv[argc] = NULL;
	if (reaper_parse(argc, argv, &arguments))
		close_all(&arguments);
}

/* ---- What the library passes ---- */

struct spawner {
	struct vfb_sys sys;
	const struct vfb_reaped *devices;
	size_t count;
};

static int spawner_pipe(const struct vfb_sys *sys, int ends[2])
{
	(void)sys;
	ends[0] = 100;
	ends[1] = 101;
	return 0;
}

static void spawner_close(const struct vfb_sys *sys, int fd)
{
	(void)sys;
	(void)fd;
}

static int spawner_process(const struct vfb_sys *sys)
{
	(void)sys;
	return 4711;
}

static const struct vfb_pci *pci_at(const void *devices, size_t i)
{
	return ((const struct vfb_reaped *)devices)[i].pci;
}

static int spawner_spawn(const struct vfb_sys *sys, const char *program, char *const *argv,
			 const int *fds, size_t count, int *process)
{
	const struct spawner *spawner = (const void *)sys;
	static struct reaper_arguments arguments;
	int argc = 0;

	(void)program;
	while (argv[argc])
		argc++;
	check(count == spawner->count + 2 && fds[0] == 100);
	check(reaper_parse(argc, argv, &arguments) && arguments.count == spawner->count);
	check(arguments.process == 4711);
	for (size_t i = 0; i < spawner->count; i++) {
		check(fds[2 + i] == spawner->devices[i].fd);
		check(!strcmp(arguments.devices[i].address, spawner->devices[i].pci->address));
		check(arguments.devices[i].set ==
		      vfb_reset_set(spawner->devices, pci_at, i, vfb_reset_is_shared));
	}
	close_all(&arguments);
	*process = 102;
	return 0;
}

static void spawn(struct input *input)
{
	static struct vfb_pci pci[MOST];
	struct vfb_reaped devices[MOST];
	struct vfb_reaper_opts opts = VFB_REAPER_OPTS_INIT;
	struct spawner spawner = {.devices = devices, .count = 1 + input_below(input, MOST)};
	int pipe, process;

	spawner.sys.pipe = spawner_pipe;
	spawner.sys.close = spawner_close;
	spawner.sys.process_id = spawner_process;
	spawner.sys.spawn = spawner_spawn;
	for (size_t i = 0; i < spawner.count; i++) {
		unsigned int slot = input_below(input, 8), bridge = input_below(input, 4);

		pci[i] = (struct vfb_pci){.group = -1};
		if (input_chance(input, 4))
			strcpy(pci[i].parent, "0000:00:01.0");
		snprintf(pci[i].address, sizeof(pci[i].address), "0000:%02x:%02x.%x", bridge, slot,
			 input_below(input, 8));
		if (bridge)
			snprintf(pci[i].bridge, sizeof(pci[i].bridge), "0000:00:%02x.0", bridge);
		devices[i] = (struct vfb_reaped){200 + i, &pci[i]};
	}
	opts.flags = input_chance(input, 2) ? VFB_REAPER_HAS_REPORT_FD : 0;
	check(!vfb_reaper_spawn(&spawner.sys, devices, spawner.count, &opts, &pipe, &process));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};

	if (input_chance(&input, 2))
		spawn(&input);
	else
		parse_anything(&input);
	return 0;
}
