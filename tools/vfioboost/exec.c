/* SPDX-License-Identifier: MIT */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/settings.h"
#include "arguments.h"
#include "command.h"
#include "exec_records.h"
#include "exec_remarks.h"
#include "exec_results.h"
#include "exec_trace.h"
#include "program.h"
#include "report/recording.h"
#include "report/remarks.h"
#include "report/report.h"

/* The convention of the shell for a command that was ended by a signal. */
#define EXIT_SIGNAL 128

struct options {
	bool boost, thp, reaper, json;
	unsigned int threads;
	const char *output, *trace, *report;
	char **command;
};

/* Where to write what the command did. The trace is always written, for the remarks. */
struct outputs {
	FILE *results;
	int trace;
};

static const char doc[] =
	"Run an unmodified command that uses VFIO, such as a VMM, show where its time goes, and "
	"save most of it."
	"\v"
	"Every VFIO and iommufd call of the command, and of the programs that it starts, is timed "
	"and shown when the command has exited, with what makes this host slow for it. All CPUs "
	"populate the memory that it maps and that is not populated; when it exits, its devices "
	"are released in parallel, except for those that share a reset.\n"
	"\n"
	"The command sees the results that the kernel returns. It must be dynamically linked with "
	"the GNU C library.\n"
	"\n"
	"Exit status: the command's, or 128 + N if signal N ended it; 2 on bad usage, or if the "
	"command cannot be run.";

enum {
	OPTION_NO_BOOST = OPTION_OWN,
	OPTION_THP,
	OPTION_REAPER,
	OPTION_TRACE,
	OPTION_REPORT,
};

static const struct argp_option argp_options[] = {
	{"no-boost", OPTION_NO_BOOST, NULL, 0, "Only observe: change nothing", 0},
	{"thp", OPTION_THP, NULL, 0,
	 "Request transparent huge pages (MADV_HUGEPAGE) before populating memory", 0},
	{"reaper", OPTION_REAPER, NULL, 0,
	 "Let another process close the devices after the command has exited", 0},
	{"threads", 't', "N", 0, "Number of workers that populate (one per usable CPU)", 0},
	{"trace", OPTION_TRACE, "FILE", 0, "Write a trace for ui.perfetto.dev and vfioboost report",
	 0},
	{"report", OPTION_REPORT, "FILE.html|FILE.svg", 0,
	 "Draw the timeline, as vfioboost report does", 0},
	{"output", 'o', "FILE", 0, "Write the results to FILE instead of stderr", 0},
	{"json", OPTION_JSON, NULL, 0,
	 "Write the results as one JSON object, to stdout unless --output is given", 0},
	{0},
};

static error_t exec_parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case OPTION_NO_BOOST:
		options->boost = false;
		return 0;
	case OPTION_THP:
		options->thp = true;
		return 0;
	case OPTION_REAPER:
		options->reaper = true;
		return 0;
	case 't':
		options->threads = argument_number(state, "threads", arg, 1, MAX_THREADS);
		return 0;
	case OPTION_TRACE:
		options->trace = arg;
		return 0;
	case OPTION_REPORT:
		if (!report_has_format(arg))
			argp_error(
				state,
				"--report needs a file name that ends in .html or .svg, not \"%s\"",
				arg);
		options->report = arg;
		return 0;
	case 'o':
		options->output = arg;
		return 0;
	case OPTION_JSON:
		options->json = true;
		return 0;
	case ARGP_KEY_ARG:
		/* The rest belongs to the command. */
		options->command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!options->command)
			argp_error(state, "no command: pass it after --");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool exec_set_records(struct settings *settings, int fd)
{
	struct stat file;

	if (fstat(fd, &file))
		return false;
	snprintf(settings->records, sizeof(settings->records), "/proc/%d/fd/%d", getpid(), fd);
	settings->device = file.st_dev;
	settings->inode = file.st_ino;
	return true;
}

static bool exec_set_reaper(struct settings *settings)
{
	char path[PATH_MAX];
	const char *reaper = program_part("../reaper/vfioboost-reaper", REAPER_PATH, path);

	if (!reaper)
		return false;
	if (strlen(reaper) >= sizeof(settings->reaper)) {
		fprintf(stderr, "vfioboost exec: the path %s is too long\n", reaper);
		return false;
	}
	memcpy(settings->reaper, reaper, strlen(reaper) + 1);
	return true;
}

static bool exec_set_preload(void)
{
	return program_preload("../preload/libvfioboost-preload.so", PRELOAD_PATH);
}

static volatile sig_atomic_t command_process;

/* A signal that was sent to this process alone is meant for the command. What a terminal sends, the
 * command gets from the terminal. */
static void exec_forward(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_code <= 0 && command_process)
		kill(command_process, number);
}

static void exec_forward_signals(void)
{
	static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
	struct sigaction action = {.sa_sigaction = exec_forward,
				   .sa_flags = SA_SIGINFO | SA_RESTART};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

/* The exit status that reports how the command ended. */
static int exec_wait(pid_t process)
{
	int status;

	while (waitpid(process, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILED;
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* In the child: this process becomes the command. */
static void exec_become(struct settings *settings, const char *path, char **command)
{
	char text[SETTINGS_TEXT];

	settings->process = getpid();
	settings_format(settings, text);
	if (!setenv(SETTINGS_VARIABLE, text, 1))
		execv(path, command);
	fprintf(stderr, "vfioboost exec: cannot run %s: %s\n", path, strerror(errno));
	_exit(EXIT_USAGE);
}

static int exec_run_command(struct settings *settings, const char *path, char **command)
{
	sigset_t all, before;
	pid_t process;

	/* No signal arrives between the fork and the handlers that forward it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	process = fork();
	if (!process) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		exec_become(settings, path, command);
	}
	if (process < 0) {
		perror("vfioboost exec: cannot start a process");
		return EXIT_FAILED;
	}
	command_process = process;
	exec_forward_signals();
	sigprocmask(SIG_SETMASK, &before, NULL);
	return exec_wait(process);
}

/* Opened in advance, so that a file that cannot be written is not found out after a long run. */
static bool exec_open_outputs(const struct options *options, struct outputs *outputs)
{
	outputs->results = options->json ? stdout : stderr;
	if (options->output && !(outputs->results = fopen(options->output, "we"))) {
		fprintf(stderr, "vfioboost exec: cannot write %s: %s\n", options->output,
			strerror(errno));
		return false;
	}
	if (options->trace)
		outputs->trace = open(options->trace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				      0666);
	else
		outputs->trace = memfd_create("vfioboost-trace", MFD_CLOEXEC);
	if (outputs->trace < 0) {
		fprintf(stderr, "vfioboost exec: cannot write %s: %s\n",
			options->trace ? options->trace : "a trace", strerror(errno));
		return false;
	}
	return true;
}

/* What the trace shows to be slow, as an array of texts. Draws the report, if it is requested. */
static struct json_object *exec_read_remarks(const struct options *options,
					     const struct outputs *outputs)
{
	struct json_object *remarks = NULL;
	struct recording recording;
	char path[64], reason[256];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", outputs->trace);
	if (recording_read(&recording, path, reason, sizeof(reason)))
		remarks = remarks_of(&recording);
	else
		fprintf(stderr, "vfioboost exec: cannot read the trace: %s\n", reason);
	recording_free(&recording);
	if (options->report)
		report_draw(path, options->command[0], options->report, false);
	return remarks;
}

static void exec_write_outputs(const struct options *options, const struct outputs *outputs,
			       const struct exec_records *records)
{
	struct json_object *remarks = NULL;

	if (!exec_trace_write(records, outputs->trace))
		fprintf(stderr, "vfioboost exec: cannot write a trace: %s\n", vfb_last_error());
	else if (records->count)
		remarks = exec_read_remarks(options, outputs);
	if (!remarks)
		remarks = json_object_new_array();
	exec_remarks_add(records, remarks);
	if (!exec_results_write(records, remarks, options->json, outputs->results))
		perror("vfioboost exec: cannot write the results");
	json_object_put(remarks);
}

/* From the start of the command to its results. */
static int exec_run(const struct options *options, const struct outputs *outputs, const char *path)
{
	struct settings settings = {
		.boost = options->boost,
		.thp = options->thp,
		.threads = options->threads,
	};
	int fd = exec_records_create(), status, error;
	struct exec_records records;

	if (fd < 0 || !exec_set_records(&settings, fd)) {
		perror("vfioboost exec: cannot create a file for the records of the command");
		return EXIT_FAILED;
	}
	if ((options->reaper && !exec_set_reaper(&settings)) || !exec_set_preload())
		return EXIT_FAILED;
	status = exec_run_command(&settings, path, options->command);
	error = exec_records_read(&records, fd);
	if (error)
		fprintf(stderr, "vfioboost exec: cannot read the records of the command: %s\n",
			strerror(-error));
	exec_write_outputs(options, outputs, &records);
	exec_records_free(&records);
	return status;
}

int command_exec(int argc, char **argv)
{
	static const struct argp argp = {
		argp_options, exec_parse_option, "COMMAND [ARGUMENT...]", doc, NULL, NULL, NULL};
	static char name[] = "vfioboost exec";
	struct options options = {.boost = true};
	struct outputs outputs;
	const char *problem;
	char path[PATH_MAX];

	argv[0] = name;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options);
	problem = program_check(options.command[0], path);
	if (problem) {
		fprintf(stderr, "vfioboost exec: %s %s\n", options.command[0], problem);
		return EXIT_USAGE;
	}
	return exec_open_outputs(&options, &outputs) ? exec_run(&options, &outputs, path) :
						       EXIT_USAGE;
}
