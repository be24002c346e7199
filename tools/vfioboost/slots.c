/* SPDX-License-Identifier: MIT */
/* vfioboost slots, and those of its commands that change slots or print what the daemon prints. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "command.h"
#include "output.h"
#include "slots_client.h"

static const struct command commands[] = {
	{"list", slots_list, "list slots and what they are doing"},
	{"show", slots_show, "show the slots of a class in full"},
	{"run", slots_run, "run a command with a slot"},
	{"take", slots_take, "take a slot, print what is in it, and give it back"},
	{"add", slots_add, "have more slots, or fewer, of a class"},
	{"drain", slots_drain, "have no slots of a class any more"},
	{"shrink", slots_shrink, "give memory of ready slots back to the host for a minute"},
	{"metrics", slots_metrics, "print counters as OpenMetrics"},
};

int command_slots(int argc, char **argv)
{
	static const struct command_group group = {
		.name = "vfioboost slots",
		.purpose = "Use the slots that vfioboostd keeps ready.",
		.commands = commands,
		.count = sizeof(commands) / sizeof(commands[0]),
		.options = "",
	};

	return command_group_run(&group, argc, argv);
}

struct change {
	const char *socket, *name;
	const char *amount;
	bool json;
	/* How many words may follow the options, and have to. */
	unsigned int most, least;
	unsigned int words;
};

static const struct argp_option argp_options[] = {
	{"socket", 's', "PATH", 0, "Where vfioboostd listens (" VFB_WIRE_SOCKET ")", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t change_parse(int key, char *arg, struct argp_state *state)
{
	struct change *change = state->input;

	switch (key) {
	case 's':
		change->socket = arg;
		return 0;
	case OPTION_JSON:
		change->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (change->words == change->most)
			argp_error(state, "\"%s\" is too much", arg);
		if (change->words++)
			change->amount = arg;
		else
			change->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (change->words < change->least)
			argp_error(state, change->words ? "the number is missing" :
							  "the class is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void change_read(int argc, char **argv, char *name, const char *words, const char *doc,
			struct change *change)
{
	struct argp argp = {argp_options, change_parse, words, doc, NULL, NULL, NULL};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, change);
}

static int change_run(const struct change *change, enum vfb_wire_type type, int64_t amount)
{
	int status = slots_request(change->socket, type, change->name ? change->name : "", amount,
				   NULL, NULL);

	if (status == EXIT_OK && change->json)
		return output_status(output_json(output_object()));
	return status;
}

int slots_add(int argc, char **argv)
{
	static const char doc[] =
		"Have N more slots of a class (fewer: -- -N), until vfioboostd is started anew."
		"\v"
		"Slots in quarantine are tried again, so 0 is a number too. Needs root.\n\n" DOC_EXIT;
	static char name[] = "vfioboost slots add";
	struct change change = {.most = 2, .least = 2};
	char *end;
	long amount;

	change_read(argc, argv, name, "CLASS N", doc, &change);
	amount = strtol(change.amount, &end, 10);
	if (*end || end == change.amount || amount > 1 << 20 || amount < -(1 << 20)) {
		fprintf(stderr, "vfioboost slots add: \"%s\" is not a number\n", change.amount);
		return EXIT_USAGE;
	}
	return change_run(&change, VFB_WIRE_ADD, amount);
}

int slots_drain(int argc, char **argv)
{
	static const char doc[] =
		"Release the ready slots of a class, and prepare no more, until vfioboost slots add."
		"\v"
		"Slots that are taken stay with those who have taken them. Needs root.\n\n" DOC_EXIT;
	static char name[] = "vfioboost slots drain";
	struct change change = {.most = 1, .least = 1};

	change_read(argc, argv, name, "CLASS", doc, &change);
	return change_run(&change, VFB_WIRE_DRAIN, 0);
}

int slots_shrink(int argc, char **argv)
{
	static const char doc[] =
		"Release ready slots, the ones longest unused first, of at least SIZE together (of "
		"all), for a minute."
		"\v" DOC_SIZES "Without a class, slots of all classes that allow it (shrink in "
		"slots.d(5)) are released. vfioboostd does the same by itself when the host lacks "
		"memory. Needs root.\n\n" DOC_EXIT;
	static char name[] = "vfioboost slots shrink";
	struct change change = {.most = 2};
	uint64_t bytes = 0;

	change_read(argc, argv, name, "[CLASS [SIZE]]", doc, &change);
	if (change.amount && (!size_parse(change.amount, &bytes) || bytes > INT64_MAX)) {
		fprintf(stderr, "vfioboost slots shrink: \"%s\" is not a size\n", change.amount);
		return EXIT_USAGE;
	}
	return change_run(&change, VFB_WIRE_SHRINK, bytes);
}

static void print_part(const union vfb_wire *message, void *arg)
{
	(void)arg;
	if (message->header.type == VFB_WIRE_PART)
		fputs(message->result.text, stdout);
}

int slots_metrics(int argc, char **argv)
{
	static const char doc[] = "Print what vfioboostd has counted, as OpenMetrics text."
				  "\v" DOC_EXIT;
	static char name[] = "vfioboost slots metrics";
	struct change change = {0};
	int status;

	change_read(argc, argv, name, "", doc, &change);
	status = slots_request(change.socket, VFB_WIRE_METRICS, "", 0, print_part, NULL);
	return status == EXIT_OK ? output_status(output_flush()) : status;
}
