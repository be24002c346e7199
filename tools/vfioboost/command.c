/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <stdio.h>
#include <string.h>
#include <vfioboost.h>

static void print_help(const struct command_group *group, FILE *file)
{
	fprintf(file, "Usage: %s COMMAND [OPTION...]\n%s\n\nCommands:\n", group->name,
		group->purpose);
	for (size_t i = 0; i < group->count; i++)
		fprintf(file, "  %-9s %s\n", group->commands[i].name, group->commands[i].purpose);
	fprintf(file,
		"\nOptions:\n"
		"  --help     this text; `%s help COMMAND` shows the help of a command\n"
		"%s"
		"\nExit status: 0 on success, 1 on failure, 2 on bad usage.\n",
		group->name, group->options);
}

/* "vfioboost help bench map" is "vfioboost bench map --help". */
static int command_print_help(const struct command_group *group, int argc, char **argv)
{
	static char help[] = "--help";

	memmove(&argv[1], &argv[2], (argc - 2) * sizeof(*argv));
	argv[argc - 1] = help;
	return command_group_run(group, argc, argv);
}

int command_group_run(const struct command_group *group, int argc, char **argv)
{
	if (argc < 2) {
		print_help(group, stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") && argc > 2)
		return command_print_help(group, argc, argv);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		print_help(group, stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < group->count; i++)
		if (!strcmp(argv[1], group->commands[i].name))
			return group->commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "%s: there is no command \"%s\": see %s --help\n", group->name, argv[1],
		group->name);
	return EXIT_USAGE;
}

int complain(int error)
{
	if (error)
		fprintf(stderr, "vfioboost: %s\n", vfb_last_error());
	return error;
}
