/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SHARE_H
#define KERNEL_SHARE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the kernel does for the library. */
enum kernel_operation {
	KERNEL_POPULATE,
	KERNEL_MAP,
	KERNEL_UNMAP,
	KERNEL_OPEN,
	KERNEL_CLOSE,
	KERNEL_OPERATIONS,
};

/* What that is made of; each part without those that it called. */
enum kernel_part {
	/* Zeroing huge pages. Small ones are zeroed within the fault, by code without a name. */
	KERNEL_CLEAR,
	KERNEL_FAULT,
	KERNEL_PIN,
	KERNEL_IOMMU_MAP,
	KERNEL_IOMMU_UNMAP,
	KERNEL_UNPIN,
	KERNEL_RESET,
	/* Everything else. */
	KERNEL_REST,
	KERNEL_PARTS,
};

/* Physically contiguous runs of 2^n bytes or more, less than twice that. */
#define KERNEL_RUNS 48

struct kernel_share {
	struct {
		uint64_t count;
		double total_us, parts_us[KERNEL_PARTS];
	} operations[KERNEL_OPERATIONS];
	uint64_t runs[KERNEL_RUNS];
};

/* The functions of the kernel that are traced for it, from 0 on; NULL after the last. */
const char *kernel_function(size_t position);

/* Adds up the text of ftrace's function_graph tracer. Read line by line. */
struct kernel_parser;
struct kernel_parser *kernel_parser_create(struct kernel_share *share);
void kernel_parser_line(struct kernel_parser *parser, const char *line);
void kernel_parser_destroy(struct kernel_parser *parser);

/* "map", "clear" and so on. */
const char *kernel_operation_name(enum kernel_operation operation);
const char *kernel_part_name(enum kernel_part part);

/* As JSON: "map": {"count", "total_s", "clear_s", ...}, and "run_lengths". */
struct json_object *kernel_share_object(const struct kernel_share *share);

#endif
