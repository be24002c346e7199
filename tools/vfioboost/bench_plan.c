/* SPDX-License-Identifier: MIT */
/* vfioboost bench plan: another program, which is linked with the model of the kernel. */
#include <stdio.h>
#include <unistd.h>

#include "command.h"
#include "program.h"

int bench_plan(int argc, char **argv)
{
	char path[PATH_MAX];
	const char *program = program_part("../plan/vfioboost-plan", PLAN_PATH, path);

	(void)argc;
	if (!program)
		return EXIT_FAILED;
	execv(program, argv);
	perror(program);
	return EXIT_FAILED;
}
