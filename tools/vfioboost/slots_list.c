/* SPDX-License-Identifier: MIT */
/* vfioboost slots list, and show. */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "command.h"
#include "output.h"
#include "slots_client.h"

struct listing {
	const char *socket, *class_name;
	bool json, in_full;
	struct json_object *slots;
	size_t count;
};

static const struct argp_option argp_options[] = {
	{"socket", 's', "PATH", 0, "Where vfioboostd listens (" VFB_WIRE_SOCKET ")", 0},
	{"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
	{0},
};

static error_t listing_parse(int key, char *arg, struct argp_state *state)
{
	struct listing *listing = state->input;

	switch (key) {
	case 's':
		listing->socket = arg;
		return 0;
	case OPTION_JSON:
		listing->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (listing->class_name)
			argp_error(state, "\"%s\" is too much", arg);
		listing->class_name = arg;
		return 0;
	case ARGP_KEY_END:
		if (listing->in_full && !listing->class_name)
			argp_error(state, "the class is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct json_object *json_slot(const struct vfb_wire_status *slot)
{
	struct json_object *object = json_object_new_object();
	const struct {
		const char *key;
		int64_t value;
	} numbers[] = {
		{"level", slot->level},
		{"memory_bytes", slot->bytes},
		{"filled_bytes", slot->filled_bytes},
		{"pid", slot->pid},
		{"uid", slot->uid},
		{"class_target", slot->target},
		{"class_takes", slot->takes},
		{"class_misses", slot->misses},
		{"class_fills", slot->fills},
		{"class_failures", slot->failures},
	};

	json_object_object_add(object, "class", json_object_new_string(slot->class_name));
	json_object_object_add(object, "slot", json_object_new_string(slot->slot));
	json_object_object_add(object, "state",
			       json_object_new_string(vfb_wire_state_name(slot->state)));
	json_object_object_add(object, "page_size",
			       json_object_new_string(page_size_name(slot->page_size)));
	json_object_object_add(object, "backend",
			       json_object_new_string(backend_names[slot->backend]));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(object, numbers[i].key,
				       json_object_new_int64(numbers[i].value));
	json_object_object_add(object, "age_s", json_object_new_double(slot->age_ns / 1e9));
	json_object_object_add(object, "class_fill_s", json_object_new_double(slot->fill_ns / 1e9));
	json_object_object_add(object, "why", json_object_new_string(slot->why));
	return object;
}

static const char *state_text(const struct vfb_wire_status *slot, char text[32])
{
	if (slot->state != VFB_WIRE_FILLING || !slot->bytes)
		return vfb_wire_state_name(slot->state);
	snprintf(text, 32, "filling %u%%",
		 (unsigned int)(slot->filled_bytes * 100.0 / slot->bytes));
	return text;
}

static void print_row(const struct vfb_wire_status *slot)
{
	char state[32], pid[16] = "-";

	if (slot->pid)
		snprintf(pid, sizeof(pid), "%d", slot->pid);
	printf("%-16s %-20s %-12s %7.0f MiB %-4s L%u %8.1f s %8s %s\n", slot->class_name,
	       slot->slot[0] ? slot->slot : "-", state_text(slot, state), slot->bytes / 1048576.0,
	       page_size_name(slot->page_size), slot->level, slot->age_ns / 1e9, pid, slot->why);
}

static void print_in_full(const struct vfb_wire_status *slot, bool is_first)
{
	char state[32];

	if (is_first)
		printf("class %s: %" PRIu64 " slots of %.0f MiB in pages of %s, level %u, backend "
		       "%s\n  taken %" PRIu64 " times, %" PRIu64 " times in vain; filled %" PRIu64
		       " times (the last one in %.2f s), failed %" PRIu64 " times\n",
		       slot->class_name, slot->target, slot->bytes / 1048576.0,
		       page_size_name(slot->page_size), slot->level, backend_names[slot->backend],
		       slot->takes, slot->misses, slot->fills, slot->fill_ns / 1e9, slot->failures);
	printf("  %s: %s for %.1f s", slot->slot[0] ? slot->slot : "-", state_text(slot, state),
	       slot->age_ns / 1e9);
	if (slot->pid)
		printf(", process %d", slot->pid);
	if (slot->state == VFB_WIRE_TAKEN)
		printf(" of user %u", slot->uid);
	printf(slot->why[0] ? ": %s\n" : "\n", slot->why);
}

static void add_slot(const union vfb_wire *message, void *arg)
{
	struct listing *listing = arg;

	if (message->header.type != VFB_WIRE_STATUS)
		return;
	if (listing->json)
		json_object_array_add(listing->slots, json_slot(&message->status));
	else if (listing->in_full)
		print_in_full(&message->status, !listing->count);
	else
		print_row(&message->status);
	listing->count++;
}

static int list(struct listing *listing)
{
	struct json_object *object;
	int status;

	if (listing->json)
		listing->slots = json_object_new_array();
	else if (!listing->in_full)
		printf("%-16s %-20s %-12s %11s %-4s %s %10s %8s\n", "CLASS", "SLOT", "STATE",
		       "MEMORY", "PAGE", "LV", "SINCE", "PROCESS");
	status = slots_request(listing->socket, VFB_WIRE_LIST,
			       listing->class_name ? listing->class_name : "", 0, add_slot,
			       listing);
	if (status == EXIT_OK && listing->class_name && !listing->count) {
		fprintf(stderr, "vfioboost: there is no class \"%s\" that you may take slots of\n",
			listing->class_name);
		status = EXIT_FAILED;
	}
	if (status != EXIT_OK || !listing->json) {
		json_object_put(listing->slots);
		return status == EXIT_OK ? output_status(output_flush()) : status;
	}
	object = output_object();
	json_object_object_add(object, "slots", listing->slots);
	return output_status(output_json(object));
}

int slots_list(int argc, char **argv)
{
	static const char doc[] = "List slots and what they are doing."
				  "\v" DOC_EXIT;
	static const struct argp argp = {argp_options, listing_parse, "[CLASS]", doc,
					 NULL,	       NULL,	      NULL};
	static char name[] = "vfioboost slots list";
	struct listing listing = {0};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &listing);
	return list(&listing);
}

int slots_show(int argc, char **argv)
{
	static const char doc[] = "Show the slots of a class in full, and what was counted."
				  "\v" DOC_EXIT;
	static const struct argp argp = {argp_options, listing_parse, "CLASS", doc,
					 NULL,	       NULL,	      NULL};
	static char name[] = "vfioboost slots show";
	struct listing listing = {.in_full = true};

	argv[0] = name;
	argp_parse(&argp, argc, argv, 0, NULL, &listing);
	return list(&listing);
}
