/* SPDX-License-Identifier: MIT */
/* vfioboost slots take: the way that a program of its own would go, timed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <vfioboost.h>

#include "arguments.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "slots_client.h"

struct options {
	const char *class_name, *socket;
	unsigned int wait, hold, repeat;
	bool json;
};

static const struct argument arguments[] = {
	{"class", 'c', "CLASS", "The class (required)", FIELD(TEXT, class_name),
	 .is_required = true},
	{"socket", 's', "PATH", "Where vfioboostd listens (" VFB_WIRE_SOCKET ")",
	 FIELD(TEXT, socket)},
	{"wait", 'w', "SECONDS", "How long to wait for a slot (0)", FIELD(NUMBER, wait),
	 .high = 3600},
	{"hold", 'h', "SECONDS", "How long to keep it (0)", FIELD(NUMBER, hold), .high = 86400},
	ARGUMENT_REPEAT("So many times (1)"),
	ARGUMENT_JSON,
	ARGUMENTS_END,
};

static const struct arguments take_arguments = {
	.command = "vfioboost slots take",
	.doc = "Take a slot, print what is in it and how long it took, and give it back."
	       "\v" DOC_EXIT,
	.all = arguments,
};

struct taken {
	double take_s, release_s;
	char name[VFB_WIRE_NAME];
	uint64_t bytes, mapped_bytes;
	size_t devices;
};

static void describe_taken(struct vfb_slot *slot, struct taken *taken)
{
	struct vfb_slot_info info = VFB_SLOT_INFO_INIT;
	struct vfb_memory_info memory = VFB_MEMORY_INFO_INIT;

	vfb_slot_info(slot, &info);
	vfb_memory_info(info.memory, &memory);
	snprintf(taken->name, sizeof(taken->name), "%s", info.name);
	taken->bytes = memory.bytes;
	taken->devices = info.device_count;
	for (size_t i = 0; i < info.range_count; i++)
		taken->mapped_bytes += info.ranges[i].bytes;
}

static int take_once(struct vfb_ctx *ctx, const struct options *options, struct taken *taken)
{
	struct vfb_slot_opts opts = {
		.size = sizeof(opts),
		.class_name = options->class_name,
		.socket = options->socket,
		.wait_ns = UINT64_C(1000000000) * options->wait,
	};
	double begin = clock_seconds();
	struct vfb_slot *slot;
	int error = complain(vfb_slot_take(ctx, &opts, &slot));

	if (error)
		return error;
	taken->take_s = clock_seconds() - begin;
	describe_taken(slot, taken);
	if (options->hold)
		nanosleep(&(struct timespec){.tv_sec = options->hold}, NULL);
	begin = clock_seconds();
	error = complain(vfb_slot_release(slot));
	taken->release_s = clock_seconds() - begin;
	return error;
}

static void print_taken(const struct taken *taken, struct json_object *all)
{
	struct json_object *object;

	if (!all) {
		printf("%s: %.0f MiB, %.0f MiB of it mapped, %zu devices; taken in %.3f ms, given "
		       "back in %.3f ms\n",
		       taken->name, taken->bytes / 1048576.0, taken->mapped_bytes / 1048576.0,
		       taken->devices, taken->take_s * 1e3, taken->release_s * 1e3);
		return;
	}
	object = json_object_new_object();
	json_object_object_add(object, "slot", json_object_new_string(taken->name));
	json_object_object_add(object, "memory_bytes", json_object_new_int64(taken->bytes));
	json_object_object_add(object, "mapped_bytes", json_object_new_int64(taken->mapped_bytes));
	json_object_object_add(object, "devices", json_object_new_int64(taken->devices));
	json_object_object_add(object, "take_s", json_object_new_double(taken->take_s));
	json_object_object_add(object, "release_s", json_object_new_double(taken->release_s));
	json_object_array_add(all, object);
}

int slots_take(int argc, char **argv)
{
	struct vfb_ctx_opts ctx_opts = {.size = sizeof(ctx_opts), .threads = 1};
	struct options options = {.repeat = 1};
	struct taken taken = {0};
	struct output output;
	struct json_object *all;
	struct vfb_ctx *ctx;
	int error;

	arguments_parse(&take_arguments, argc, argv, &options);
	if (complain(vfb_ctx_create(&ctx_opts, &ctx)))
		return EXIT_FAILED;
	output_begin(&output, options.json);
	all = options.json ? json_object_new_array() : NULL;
	for (unsigned int i = 0; i < options.repeat; i++) {
		taken = (struct taken){0};
		error = take_once(ctx, &options, &taken);
		if (error)
			break;
		print_taken(&taken, all);
	}
	vfb_ctx_destroy(ctx);
	output_add(&output, "taken", all);
	return output_end(&output) == EXIT_OK && !error ? EXIT_OK : EXIT_FAILED;
}
