/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *const page_size_names[] = {"auto", "4k", "thp", "2m", "1g", "mixed", NULL};
const char *const backend_names[] = {"auto", "type1", "iommufd", "none", NULL};

int argument_choice(struct argp_state *state, const char *option, const char *text,
		    const char *const *names)
{
	char known[200] = "";

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

error_t argument_unknown(int key, const char *arg, struct argp_state *state)
{
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	argp_error(state, "\"%s\" is too much: every argument belongs to an option", arg);
	return 0;
}

error_t argument_bench(int key, char *arg, struct argp_state *state, unsigned int *repeat,
		       bool *json)
{
	switch (key) {
	case 'r':
		*repeat = argument_number(state, "repeat", arg, 1, MAX_REPEAT);
		return 0;
	case OPTION_JSON:
		*json = true;
		return 0;
	default:
		return argument_unknown(key, arg, state);
	}
}

uint64_t argument_size(struct argp_state *state, const char *option, const char *text)
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

	if (!number_parse(text, &number) || number < low || number > high)
		argp_error(state, "--%s wants a number from %u to %u, not \"%s\"", option, low,
			   high, text);
	return number;
}

void argument_threads(struct argp_state *state, struct thread_counts *threads, char *text)
{
	char *rest = NULL;

	for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		if (threads->count == MAX_THREAD_COUNTS)
			argp_error(state, "more than %d numbers of threads", MAX_THREAD_COUNTS);
		threads->all[threads->count++] = argument_number(state, "threads", word, 1,
								 MAX_THREADS);
	}
}

void argument_device(struct argp_state *state, const char *devices[MAX_DEVICES], size_t *count,
		     const char *address)
{
	if (*count == MAX_DEVICES)
		argp_error(state, "more than %d devices", MAX_DEVICES);
	devices[(*count)++] = address;
}

bool size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit)
			return false;
		shift = 10 * (unit - units + 1);
		end++;
		if (*end && strcasecmp(end, "B") && strcasecmp(end, "iB"))
			return false;
	}
	if (number > UINT64_MAX >> shift)
		return false;
	*bytes = (uint64_t)number << shift;
	return true;
}

bool number_parse(const char *text, unsigned int *number)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value > UINT_MAX)
		return false;
	*number = value;
	return true;
}
