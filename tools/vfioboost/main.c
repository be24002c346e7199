/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <vfioboost.h>

#include "command.h"

static const struct command commands[] = {
	{"report", command_report, "draw a trace as a page or a picture"},
	{"run", command_run,
	 "start and stop a guest's memory and devices, and show where the time goes"},
	{"exec", command_exec, "run a command that uses VFIO, and speed it up"},
	{"release", command_release, "measure how long it takes to release devices"},
	{"bind", command_bind, "bind devices to vfio-pci"},
	{"unbind", command_unbind, "bind devices to their former drivers"},
	{"slots", command_slots, "take memory and devices that were made ready beforehand"},
	{"seccomp", command_seccomp, "list the system calls of the library, for filters"},
	{"bench", command_bench, "measure one part at a time"},
	{"doctor", command_doctor,
	 "report what this host supports, what will be slow, and how to fix it"},
};

static const struct command_group group = {
	.name = "vfioboost",
	.purpose = "Start and stop the memory and the devices of a VFIO guest, fast.",
	.commands = commands,
	.count = sizeof(commands) / sizeof(commands[0]),
	.options = "  --version  the version of the library\n",
};

int main(int argc, char **argv)
{
	argp_err_exit_status = EXIT_USAGE;
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("vfioboost %s\n", vfb_version());
		return EXIT_OK;
	}
	return command_group_run(&group, argc, argv);
}
