/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../parse.h"

const char *const page_size_names[] = {"auto", "4k", "thp", "2m", "1g", "mixed", NULL};
const char *const backend_names[] = {"auto", "type1", "iommufd", "none", "spapr", NULL};

uint64_t base_page_bytes(void)
{
	return sysconf(_SC_PAGESIZE);
}

const char *page_size_name(enum vfb_page_size page_size)
{
	static _Thread_local char base[24];

	if (page_size == VFB_PAGE_HUGE)
		return "huge";
	if (page_size != VFB_PAGE_BASE)
		return page_size_names[page_size];
	snprintf(base, sizeof(base), "%juk", (uintmax_t)base_page_bytes() >> 10);
	return base;
}

static int read_choice(struct argp_state *state, const char *option, const char *text,
		       const char *const *names)
{
	char known[200] = "";

	/* Another name of them. */
	if (!strcmp(text, "base"))
		text = page_size_names[VFB_PAGE_BASE];
	for (int i = 0; names[i]; i++)
		if (!strcmp(text, names[i]))
			return i;
	for (int i = 0; names[i]; i++) {
		strncat(known, i ? ", " : "", sizeof(known) - strlen(known) - 1);
		strncat(known, names[i], sizeof(known) - strlen(known) - 1);
	}
	argp_error(state, "--%s does not know \"%s\"; it takes %s", option, text, known);
	return 0;
}

static uint64_t read_size(struct argp_state *state, const char *option, const char *text)
{
	uint64_t bytes = 0;

	if (!size_parse(text, &bytes) || !bytes)
		argp_error(state, "--%s wants a size such as 2G, not \"%s\"", option, text);
	return bytes;
}

unsigned int argument_number(struct argp_state *state, const char *option, const char *text,
			     unsigned int low, unsigned int high)
{
	unsigned int number = 0;

	if (!parse_number(text, low, high, &number))
		argp_error(state, "--%s wants a number from %u to %u, not \"%s\"", option, low,
			   high, text);
	return number;
}

void argument_device(struct argp_state *state, const char *devices[MAX_DEVICES], size_t *count,
		     const char *address)
{
	if (*count == MAX_DEVICES)
		argp_error(state, "more than %d devices", MAX_DEVICES);
	devices[(*count)++] = address;
}

/* ---- A command's options as a table ---- */

static void add_word(struct argp_state *state, const struct argument *argument, const char *word,
		     struct number_list *numbers)
{
	unsigned int number;

	if (argument->kind == ARGUMENT_IS_NUMBERS)
		number = argument_number(state, argument->name, word, argument->low,
					 argument->high);
	else
		number = argument->low + read_choice(state, argument->name, word, argument->names);
	for (size_t i = 0; i < numbers->count; i++)
		if (argument->kind == ARGUMENT_IS_CHOICES && numbers->all[i] == number)
			return;
	if (numbers->count == MAX_NUMBERS)
		argp_error(state, "--%s takes at most %d numbers", argument->name, MAX_NUMBERS);
	numbers->all[numbers->count++] = number;
}

static void read_argument(struct argp_state *state, const struct argument *argument, char *text,
			  void *field)
{
	struct device_list *devices = field;
	char *rest = NULL;

	switch (argument->kind) {
	case ARGUMENT_IS_FLAG:
		*(bool *)field = true;
		return;
	case ARGUMENT_IS_TEXT:
		*(const char **)field = text;
		return;
	case ARGUMENT_IS_SIZE:
		*(uint64_t *)field = read_size(state, argument->name, text);
		return;
	case ARGUMENT_IS_NUMBER:
		*(unsigned int *)field = argument_number(state, argument->name, text, argument->low,
							 argument->high);
		return;
	case ARGUMENT_IS_CHOICE:
		*(unsigned int *)field = argument->low +
					 read_choice(state, argument->name, text, argument->names);
		return;
	case ARGUMENT_IS_DEVICE:
		argument_device(state, devices->all, &devices->count, text);
		return;
	default:
		for (text = strtok_r(text, ",", &rest); text; text = strtok_r(NULL, ",", &rest))
			add_word(state, argument, text, field);
	}
}

#define MAX_ARGUMENTS 32

struct parsing {
	const struct arguments *arguments;
	void *options;
	bool is_given[MAX_ARGUMENTS];
};

static int key_of(const struct argument *argument, size_t i)
{
	return argument->letter ? argument->letter : OPTION_OWN + (int)i;
}

/* In the end, when all have been read. */
static void check_given(struct argp_state *state, const struct parsing *parsing)
{
	const struct arguments *arguments = parsing->arguments;

	for (size_t i = 0; arguments->all[i].name; i++)
		if (arguments->all[i].is_required && !parsing->is_given[i])
			argp_error(state, "--%s is missing", arguments->all[i].name);
	if (arguments->check)
		arguments->check(state, parsing->options);
}

/* A word that belongs to no option is a usage error. */
static error_t refuse_key(int key, const char *arg, struct argp_state *state)
{
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	argp_error(state, "\"%s\" is too much: every argument belongs to an option", arg);
	return 0;
}

static error_t parse_argument(int key, char *text, struct argp_state *state)
{
	struct parsing *parsing = state->input;
	const struct argument *argument = parsing->arguments->all;

	if (key == ARGP_KEY_END)
		check_given(state, parsing);
	for (size_t i = 0; argument[i].name; i++) {
		if (key != key_of(&argument[i], i))
			continue;
		parsing->is_given[i] = true;
		read_argument(state, &argument[i], text,
			      (char *)parsing->options + argument[i].offset);
		return 0;
	}
	return refuse_key(key, text, state);
}

void arguments_parse(const struct arguments *arguments, int argc, char **argv, void *options)
{
	struct parsing parsing = {.arguments = arguments, .options = options};
	struct argp_option argp_options[MAX_ARGUMENTS + 1] = {0};
	struct argp argp = {argp_options, parse_argument, NULL, arguments->doc, NULL, NULL, NULL};
	static char name[64];

	for (size_t i = 0; arguments->all[i].name && i < MAX_ARGUMENTS; i++)
		argp_options[i] = (struct argp_option){
			.name = arguments->all[i].name,
			.key = key_of(&arguments->all[i], i),
			.arg = arguments->all[i].value,
			.doc = arguments->all[i].help,
		};
	/* argp begins its messages with it. */
	snprintf(name, sizeof(name), "%s", arguments->command);
	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &parsing);
}

bool size_parse(const char *text, uint64_t *bytes)
{
	const char *rest;
	uint64_t size;

	if (!parse_size(text, &size, &rest) ||
	    (*rest && strcasecmp(rest, "B") && strcasecmp(rest, "iB")))
		return false;
	*bytes = size;
	return true;
}
