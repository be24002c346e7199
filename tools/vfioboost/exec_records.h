/* SPDX-License-Identifier: MIT */
#ifndef EXEC_RECORDS_H
#define EXEC_RECORDS_H

#include "../preload/records.h"

/* Calls of one kind that have no record of their own. */
struct exec_sum {
	/* What the calls have in common. */
	struct record call;
	uint64_t count, errors, total_ns, max_ns, bytes;
};

/*
 * What the command reported, checked: any of its processes may have written anything into the
 * file. Every number is in its range, texts are printable ASCII and terminated.
 */
struct exec_records {
	/* Complete records, in the order of their beginning. */
	struct record *all;
	size_t count;
	struct exec_sum sums[RECORDS_SUMS];
	size_t sum_count;
	/* How many calls are in the sums only, and how many records were left out as invalid. */
	uint64_t lost, damaged;
	/* Why something was not boosted; "" for none. */
	char remark[sizeof(((struct records *)0)->remark) + 1];
	/* What it was parsed from. */
	struct records *raw;
};

/*
 * Creates the file, of the size that it keeps; only its owner may open it. Returns a file
 * descriptor, or -errno.
 */
int exec_records_create(void);

/* Copies the file and parses the copy, which nobody else can change. Returns 0 or -errno. */
int exec_records_read(struct exec_records *records, int fd);

/*
 * The parser: @raw is allocated with malloc() and belongs to @records afterwards, @bytes of it were
 * read. @now_ns: CLOCK_MONOTONIC; nothing ended later.
 */
void exec_records_parse(struct exec_records *records, struct records *raw, size_t bytes,
			uint64_t now_ns);

void exec_records_free(struct exec_records *records);

#endif
