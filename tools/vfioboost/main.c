/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <vfioboost.h>

#include "command.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *purpose;
} commands[] = {
	{"run", command_run, "start and stop what a guest would, and show where the time goes"},
};

static void print_help(FILE *file)
{
	fprintf(file, "Usage: vfioboost COMMAND [OPTION...]\n"
		      "Start and stop the memory and the devices of a VFIO guest, fast.\n\n"
		      "Commands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].purpose);
	fprintf(file, "\nOptions:\n"
		      "  --help     this text; vfioboost COMMAND --help tells more\n"
		      "  --version  the version of the library\n\n"
		      "Exit status: 0 on success, 1 on failure, 2 on bad usage.\n");
}

int main(int argc, char **argv)
{
	argp_err_exit_status = EXIT_USAGE;
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("vfioboost %s\n", vfb_version());
		return EXIT_OK;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "vfioboost: there is no command \"%s\": see vfioboost --help\n", argv[1]);
	return EXIT_USAGE;
}
