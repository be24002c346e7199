/* SPDX-License-Identifier: MIT */
/* vfioboost seccomp: which system calls the library makes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "command.h"
#include "output.h"

struct options {
	bool json;
};

static const struct {
	enum vfb_seccomp_role role;
	const char *name, *purpose;
} roles[] = {
	{VFB_SECCOMP_THREAD, "thread", "threads of the library"},
	{VFB_SECCOMP_CALLER, "caller", "callers of a context that has all of its threads"},
	{VFB_SECCOMP_CREATE, "create", "callers that create a context, or threads"},
};

static const struct argument options_of_seccomp[] = {
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments arguments_of_seccomp = {
	.command = "vfioboost seccomp",
	.doc = "List the system calls that libvfioboost makes, for a program that filters its own."
	       "\vThe numbers are those of this architecture. ioctl is listed once per request.\n"
	       "\n" DOC_EXIT,
	.all = options_of_seccomp,
};

static struct json_object *json_of_call(const struct vfb_seccomp_call *call)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name",
			       json_object_new_string(call->request ? "ioctl" : call->name));
	json_object_object_add(object, "number", json_object_new_int64(call->number));
	if (call->request) {
		json_object_object_add(object, "request", json_object_new_int64(call->request));
		json_object_object_add(object, "request_name", json_object_new_string(call->name));
	}
	return object;
}

static void print_call(const struct vfb_seccomp_call *call)
{
	if (call->request)
		printf("  ioctl 0x%-8" PRIx64 "  %s\n", call->request, call->name);
	else
		printf("  %-16" PRIu32 "  %s\n", call->number, call->name);
}

/* Fails when memory is exhausted. */
static int print_role(size_t role, struct json_object *object)
{
	int count = vfb_seccomp_calls(roles[role].role, NULL, 0);
	struct vfb_seccomp_call *calls = calloc(count, sizeof(*calls));
	struct json_object *array = object ? json_object_new_array() : NULL;

	if (!calls) {
		fprintf(stderr, "vfioboost: no memory\n");
		return -1;
	}
	vfb_seccomp_calls(roles[role].role, calls, count);
	if (!object)
		printf("%s%s: %s\n", role ? "\n" : "", roles[role].name, roles[role].purpose);
	for (int i = 0; i < count; i++) {
		if (object)
			json_object_array_add(array, json_of_call(&calls[i]));
		else
			print_call(&calls[i]);
	}
	if (object)
		json_object_object_add(object, roles[role].name, array);
	free(calls);
	return 0;
}

int command_seccomp(int argc, char **argv)
{
	struct json_object *object = NULL;
	struct options options = {0};

	arguments_parse(&arguments_of_seccomp, argc, argv, &options);
	if (options.json)
		object = output_object();
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (print_role(i, object))
			return EXIT_FAILED;
	return output_status(object ? output_json(object) : output_flush());
}
