/* SPDX-License-Identifier: MIT */
/*
 * vfioboost slots run: takes a slot and becomes the command. Its process stays the one that has
 * taken the slot, so that the daemon notices its end.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../parse.h"
#include "../takeover/settings.h"
#include "arguments.h"
#include "command.h"
#include "program.h"
#include "slots_client.h"

#define FIRST_FD TAKEOVER_FIRST_FD

struct options {
	const char *class_name, *socket;
	unsigned int wait;
	bool verbose;
	char **command;
};

static const char doc[] =
	"Take a slot and run a command with it."
	"\v"
	"The file descriptors are passed to the command from 3 on: the memory; unless the slot is "
	"memory only, the container or iommufd; the devices; and, with type1, their groups. "
	"LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (memory:iommu:device0:...:group0:...) describe "
	"them. In each argument these words are replaced:\n"
	"  {memory}   the path of the memory, /proc/self/fd/3\n"
	"  {size}     its size in bytes\n"
	"  {iommu}    the file descriptor of the container or iommufd\n"
	"  {device0}  the file descriptor of the first device, and so on\n"
	"\n"
	"A VMM that opens the devices of the slot itself, as vfio-pci,host=, takes them over.\n"
	"The slot belongs to the process, and is taken back when it ends.\n"
	"\n"
	"Example: vfioboost slots run web -- qemu-system-x86_64 -m 2G -object "
	"memory-backend-file,id=m,mem-path={memory},size={size},share=on,prealloc=off -machine "
	"q35,memory-backend=m\n"
	"\n"
	"Exit status: that of the command; 1: there is no slot; 2 on bad usage; 127: the command "
	"cannot be run.";

static const struct argp_option argp_options[] = {
	{"socket", 's', "PATH", 0, "Where vfioboostd listens (" VFB_WIRE_SOCKET ")", 0},
	{"wait", 'w', "SECONDS", 0, "How long to wait for a slot (0)", 0},
	{"verbose", 'v', NULL, 0, "Print what the command finds prepared, and what the kernel maps",
	 0},
	{0},
};

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 's':
		options->socket = arg;
		return 0;
	case 'w':
		options->wait = argument_number(state, "wait", arg, 0, 3600);
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!options->class_name) {
			options->class_name = arg;
			return 0;
		}
		/* Options that follow are the command's. */
		options->command = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!options->command)
			argp_error(state, options->class_name ? "the command is missing" :
								"the class is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* To 3, 4, ..., and not closed by execve(). */
static bool place(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + (int)count);
		if (fds[i] < 0)
			return false;
	}
	for (size_t i = 0; i < count; i++)
		if (dup2(fds[i], FIRST_FD + (int)i) < 0)
			return false;
	return true;
}

static void announce(const struct vfb_wire_grant *grant, size_t count)
{
	char names[VFB_WIRE_FDS * 16], number[24];
	size_t used = snprintf(names, sizeof(names), grant->level ? "memory:iommu" : "memory");

	for (size_t i = 0; i < grant->device_count; i++)
		used += snprintf(names + used, sizeof(names) - used, ":device%zu", i);
	for (size_t i = 0; i < grant->group_count; i++)
		used += snprintf(names + used, sizeof(names) - used, ":group%zu", i);
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(number, sizeof(number), "%zu", count);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
}

/* A VMM that opens the devices of the slot as if there were none takes them over. */
static bool prepare_takeover(const struct options *options, const struct vfb_wire_grant *grant)
{
	struct takeover_settings settings = {.grant = *grant, .verbose = options->verbose};
	char text[TAKEOVER_TEXT];

	if (!grant->level)
		return true;
	return takeover_format(&settings, text) && !setenv(TAKEOVER_VARIABLE, text, 1) &&
	       program_preload("../takeover/libvfioboost-takeover.so", TAKEOVER_PATH);
}

/* What "{word}" stands for; "": it stays. */
static void find_word(const struct vfb_wire_grant *grant, const char *word, size_t length,
		      char text[64])
{
	unsigned int device;
	char name[16];

	text[0] = '\0';
	if (length >= sizeof(name))
		return;
	memcpy(name, word, length);
	name[length] = '\0';
	if (!strcmp(name, "memory"))
		snprintf(text, 64, "/proc/self/fd/%d", FIRST_FD);
	else if (!strcmp(name, "size"))
		snprintf(text, 64, "%" PRIu64, grant->bytes);
	else if (!strcmp(name, "iommu") && grant->level)
		snprintf(text, 64, "%d", FIRST_FD + 1);
	else if (!strncmp(name, "device", 6) && parse_number(name + 6, 0, UINT_MAX, &device) &&
		 device < grant->device_count)
		snprintf(text, 64, "%u", FIRST_FD + 2 + device);
}

static char *replace_words(const struct vfb_wire_grant *grant, const char *argument)
{
	char *result = NULL, text[64];
	size_t bytes;
	FILE *file = open_memstream(&result, &bytes);

	while (file && *argument) {
		const char *end = *argument == '{' ? strchr(argument, '}') : NULL;

		text[0] = '\0';
		if (end)
			find_word(grant, argument + 1, end - argument - 1, text);
		if (text[0]) {
			fputs(text, file);
			argument = end + 1;
		} else {
			fputc(*argument++, file);
		}
	}
	if (file)
		fclose(file);
	return result;
}

int slots_run(int argc, char **argv)
{
	static const struct argp argp = {argp_options, run_parse, "CLASS -- COMMAND [ARGUMENT...]",
					 doc,	       NULL,	  NULL,
					 NULL};
	static char name[] = "vfioboost slots run";
	struct options options = {0};
	struct vfb_wire_grant grant;
	int fds[VFB_WIRE_FDS];
	size_t count;

	argv[0] = name;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options);
	if (!slots_take_files(options.socket, options.class_name,
			      UINT64_C(1000000000) * options.wait, &grant, fds))
		return EXIT_FAILED;
	count = vfb_wire_fd_count(&grant);
	if (!place(fds, count)) {
		perror("vfioboost: cannot pass the file descriptors on");
		return EXIT_FAILED;
	}
	announce(&grant, count);
	if (!prepare_takeover(&options, &grant))
		return EXIT_FAILED;
	for (char **argument = options.command; *argument; argument++) {
		*argument = replace_words(&grant, *argument);
		if (!*argument)
			return EXIT_FAILED;
	}
	execvp(options.command[0], options.command);
	fprintf(stderr, "vfioboost: cannot run %s: %s\n", options.command[0], strerror(errno));
	return 127;
}
