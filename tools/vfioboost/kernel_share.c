/* SPDX-License-Identifier: MIT */
#include "kernel_share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a function stands for: a whole operation, or a part of one. */
static const struct {
	const char *name;
	int operation, part;
} roles[] = {
	/* The container's ioctls: what it was is known by what it called. */
	{"vfio_iommu_type1_ioctl", KERNEL_OPERATIONS, -1},
	{"iommufd_ioas_map", KERNEL_MAP, -1},
	{"iommufd_ioas_map_file", KERNEL_MAP, -1},
	{"iommufd_ioas_unmap", KERNEL_UNMAP, -1},
	{"do_madvise", KERNEL_POPULATE, -1},
	{"vfio_pci_core_enable", KERNEL_OPEN, -1},
	{"vfio_pci_core_close_device", KERNEL_CLOSE, -1},
	/* 6.6 and later; before. */
	{"folio_zero_user", -1, KERNEL_CLEAR},
	{"clear_huge_page", -1, KERNEL_CLEAR},
	{"handle_mm_fault", -1, KERNEL_FAULT},
	{"pin_user_pages_remote", -1, KERNEL_PIN},
	{"pin_user_pages_fast", -1, KERNEL_PIN},
	{"pin_user_pages", -1, KERNEL_PIN},
	{"memfd_pin_folios", -1, KERNEL_PIN},
	{"vfio_pin_pages_remote", -1, KERNEL_PIN},
	{"iommu_map", -1, KERNEL_IOMMU_MAP},
	{"iommu_map_nosync", -1, KERNEL_IOMMU_MAP},
	{"iommu_unmap", -1, KERNEL_IOMMU_UNMAP},
	{"iommu_unmap_fast", -1, KERNEL_IOMMU_UNMAP},
	{"unpin_user_pages_dirty_lock", -1, KERNEL_UNPIN},
	{"unpin_user_page_range_dirty_lock", -1, KERNEL_UNPIN},
	{"vfio_unpin_pages_remote", -1, KERNEL_UNPIN},
	{"__pci_reset_function_locked", -1, KERNEL_RESET},
	{"pci_try_reset_function", -1, KERNEL_RESET},
	{"pci_reset_bus", -1, KERNEL_RESET},
};

#define ROLES (sizeof(roles) / sizeof(roles[0]))

const char *kernel_function(size_t position)
{
	return position < ROLES ? roles[position].name : NULL;
}

const char *kernel_operation_name(enum kernel_operation operation)
{
	static const char *const names[] = {"populate", "map", "unmap", "open", "close"};

	return names[operation];
}

const char *kernel_part_name(enum kernel_part part)
{
	static const char *const names[] = {"clear",	   "fault", "pin",   "iommu_map",
					    "iommu_unmap", "unpin", "reset", "rest"};

	return names[part];
}

/* A function that has begun. */
struct frame {
	size_t role;
	double called_us;
	/* Of what it called, and what that was. */
	double parts_us[KERNEL_PARTS];
};

/* No deeper nest of the functions above is known. */
#define MAX_DEPTH 16

struct thread {
	struct thread *next;
	long id;
	struct frame frames[MAX_DEPTH];
	size_t depth;
};

struct kernel_parser {
	struct kernel_share *share;
	struct thread *threads;
};

struct kernel_parser *kernel_parser_create(struct kernel_share *share)
{
	struct kernel_parser *parser = calloc(1, sizeof(*parser));

	memset(share, 0, sizeof(*share));
	if (parser)
		parser->share = share;
	return parser;
}

void kernel_parser_destroy(struct kernel_parser *parser)
{
	struct thread *next;

	if (!parser)
		return;
	for (struct thread *thread = parser->threads; thread; thread = next) {
		next = thread->next;
		free(thread);
	}
	free(parser);
}

static struct thread *find_thread(struct kernel_parser *parser, long id)
{
	struct thread *thread;

	for (thread = parser->threads; thread; thread = thread->next)
		if (thread->id == id)
			return thread;
	thread = calloc(1, sizeof(*thread));
	if (!thread)
		return NULL;
	thread->id = id;
	thread->next = parser->threads;
	parser->threads = thread;
	return thread;
}

static size_t find_role(const char *name)
{
	size_t length = strcspn(name, "([ ;\n");

	for (size_t i = 0; i < ROLES; i++)
		if (strlen(roles[i].name) == length && !memcmp(roles[i].name, name, length))
			return i;
	return ROLES;
}

/* What a container's ioctl was, or KERNEL_OPERATIONS for nothing of interest. */
static int operation_of(const struct frame *frame)
{
	if (roles[frame->role].operation != KERNEL_OPERATIONS)
		return roles[frame->role].operation;
	if (frame->parts_us[KERNEL_IOMMU_UNMAP] > 0)
		return KERNEL_UNMAP;
	if (frame->parts_us[KERNEL_IOMMU_MAP] > 0 || frame->parts_us[KERNEL_PIN] > 0)
		return KERNEL_MAP;
	return KERNEL_OPERATIONS;
}

/* A function that took @us has ended: its caller gets its parts, or an operation is complete. */
static void end_frame(struct kernel_parser *parser, struct thread *thread, struct frame *frame,
		      double us)
{
	struct frame *caller = thread->depth ? &thread->frames[thread->depth - 1] : NULL;
	double own = us > frame->called_us ? us - frame->called_us : 0;
	int part = roles[frame->role].part, operation;

	frame->parts_us[part < 0 ? KERNEL_REST : part] += own;
	if (caller) {
		caller->called_us += us;
		for (int i = 0; i < KERNEL_PARTS; i++)
			caller->parts_us[i] += frame->parts_us[i];
	}
	operation = part < 0 ? operation_of(frame) : KERNEL_OPERATIONS;
	if (operation == KERNEL_OPERATIONS)
		return;
	parser->share->operations[operation].count++;
	parser->share->operations[operation].total_us += us;
	for (int i = 0; i < KERNEL_PARTS; i++)
		parser->share->operations[operation].parts_us[i] += frame->parts_us[i];
}

static void note_run(struct kernel_parser *parser, const char *size)
{
	unsigned long long bytes = strtoull(size, NULL, 10);
	int exponent = bytes ? 63 - __builtin_clzll(bytes) : 0;

	if (exponent < KERNEL_RUNS)
		parser->share->runs[exponent]++;
}

/* No call takes longer: 31 years. */
#define MAX_US 1e15

/* "  # 1234.5 us  " */
static double duration_of(const char *field)
{
	double us;

	field += strcspn(field, "0123456789|");
	us = strtod(field, NULL);
	return us < MAX_US ? us : 0;
}

/*
 * One of: "name();" with its duration, "name() {", and the end of that with its duration,
 * "} [slash]* name *[slash]"; or a trace event as a comment.
 */
static void parse_call(struct kernel_parser *parser, struct thread *thread, const char *duration,
		       const char *text)
{
	const char *size = strstr(text, "size="), *comment = strstr(text, "/* ");
	struct frame leaf = {0};

	if (*text == '/') {
		if (size && strstr(text, "/* map:"))
			note_run(parser, size + strlen("size="));
		return;
	}
	if (*text == '}') {
		leaf.role = comment ? find_role(comment + 3) : ROLES;
		if (leaf.role == ROLES)
			return;
		/* What began before the trace did has no frame. */
		while (thread->depth && thread->frames[thread->depth - 1].role != leaf.role)
			thread->depth--;
		if (!thread->depth)
			return;
		leaf = thread->frames[--thread->depth];
		end_frame(parser, thread, &leaf, duration_of(duration));
		return;
	}
	leaf.role = find_role(text);
	if (leaf.role == ROLES)
		return;
	if (strchr(text, '{')) {
		if (thread->depth < MAX_DEPTH)
			thread->frames[thread->depth++] = leaf;
	} else {
		end_frame(parser, thread, &leaf, duration_of(duration));
	}
}

void kernel_parser_line(struct kernel_parser *parser, const char *line)
{
	const char *task = strchr(line, '|'), *duration, *text, *id;
	struct thread *thread;

	if (*line == '#' || !task)
		return;
	duration = strchr(task + 1, '|');
	text = duration ? strchr(duration + 1, '|') : NULL;
	/* The name of a thread may have anything in it, its number comes last. */
	for (id = duration; text && id > task && *id != '-'; id--)
		;
	if (!text || id == task)
		return;
	thread = find_thread(parser, strtol(id + 1, NULL, 10));
	text++;
	text += strspn(text, " ");
	if (thread)
		parse_call(parser, thread, duration + 1, text);
}

static struct json_object *operation_object(const struct kernel_share *share,
					    enum kernel_operation operation)
{
	struct json_object *object = json_object_new_object();
	char name[32];

	json_object_object_add(object, "count",
			       json_object_new_uint64(share->operations[operation].count));
	json_object_object_add(object, "total_s",
			       json_object_new_double(share->operations[operation].total_us *
						      1e-6));
	for (int part = 0; part < KERNEL_PARTS; part++) {
		double us = share->operations[operation].parts_us[part];

		snprintf(name, sizeof(name), "%s_s", kernel_part_name(part));
		if (us > 0)
			json_object_object_add(object, name, json_object_new_double(us * 1e-6));
	}
	return object;
}

struct json_object *kernel_share_object(const struct kernel_share *share)
{
	struct json_object *object = json_object_new_object(), *runs = json_object_new_array();

	for (int operation = 0; operation < KERNEL_OPERATIONS; operation++)
		if (share->operations[operation].count)
			json_object_object_add(object, kernel_operation_name(operation),
					       operation_object(share, operation));
	for (int i = 0; i < KERNEL_RUNS; i++) {
		struct json_object *run;

		if (!share->runs[i])
			continue;
		run = json_object_new_object();
		json_object_object_add(run, "bytes", json_object_new_uint64(UINT64_C(1) << i));
		json_object_object_add(run, "count", json_object_new_uint64(share->runs[i]));
		json_object_array_add(runs, run);
	}
	json_object_object_add(object, "run_lengths", runs);
	return object;
}
