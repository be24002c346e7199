/* SPDX-License-Identifier: MIT */
#ifndef COMMAND_H
#define COMMAND_H

#include <stddef.h>

/* Exit statuses of every subcommand. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

/* What can follow a word on the command line. */
struct command {
	const char *name;
	/* Takes the words from its own name on. */
	int (*run)(int argc, char **argv);
	const char *purpose;
};

struct command_group {
	/* The words that lead to it: "vfioboost bench". */
	const char *name;
	const char *purpose;
	const struct command *commands;
	size_t count;
	/* Lines of help on options besides --help, or "". */
	const char *options;
};

/* Runs the command that @argv[1] names, or prints help. Returns its exit status. */
int command_group_run(const struct command_group *group, int argc, char **argv);

/* Prints what vfb_last_error() says, if there is an error. Returns @error. */
int complain(int error);

int command_bench(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_report(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_bind(int argc, char **argv);
int command_release(int argc, char **argv);
int command_run(int argc, char **argv);
int command_seccomp(int argc, char **argv);
int command_slots(int argc, char **argv);
int command_unbind(int argc, char **argv);

int bench_bar(int argc, char **argv);
int bench_events(int argc, char **argv);
int bench_beside(int argc, char **argv);
int bench_density(int argc, char **argv);
int bench_give_back(int argc, char **argv);
int bench_on_demand(int argc, char **argv);
int bench_growth(int argc, char **argv);
int bench_map(int argc, char **argv);
int bench_close(int argc, char **argv);
int bench_open(int argc, char **argv);
int bench_plan(int argc, char **argv);
int bench_populate(int argc, char **argv);
int bench_starts(int argc, char **argv);
int bench_translate(int argc, char **argv);

int slots_add(int argc, char **argv);
int slots_drain(int argc, char **argv);
int slots_list(int argc, char **argv);
int slots_metrics(int argc, char **argv);
int slots_run(int argc, char **argv);
int slots_show(int argc, char **argv);
int slots_shrink(int argc, char **argv);
int slots_take(int argc, char **argv);

#endif
