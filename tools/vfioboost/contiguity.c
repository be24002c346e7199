/* SPDX-License-Identifier: MIT */
#include "contiguity.h"

#include <inttypes.h>
#include <stdio.h>

/* The powers of @base whose runs there are, each with their number. */
static void print_powers(const uint64_t *counts, size_t count, uint64_t base)
{
	uint64_t pages = 1;

	printf("  runs of N pages or more, by powers of %" PRIu64 ":", base);
	for (size_t i = 0; i < count; i++, pages *= base)
		if (counts[i])
			printf(" %" PRIu64 ": %" PRIu64, pages, counts[i]);
	printf("\n");
}

void contiguity_print(const struct vfb_contiguity *contiguity)
{
	printf("  %" PRIu64 " runs, the longest of %.2f MiB\n", contiguity->runs,
	       contiguity->longest_bytes / 1048576.0);
	print_powers(contiguity->runs_by_log2, VFB_RUNS_LOG2, 2);
	print_powers(contiguity->runs_by_log10, VFB_RUNS_LOG10, 10);
}

/* Without the zeros at its end. */
static struct json_object *array_of(const uint64_t *counts, size_t count)
{
	struct json_object *array = json_object_new_array();

	while (count && !counts[count - 1])
		count--;
	for (size_t i = 0; i < count; i++)
		json_object_array_add(array, json_object_new_uint64(counts[i]));
	return array;
}

struct json_object *contiguity_object(const struct vfb_contiguity *contiguity)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "runs", json_object_new_uint64(contiguity->runs));
	json_object_object_add(object, "longest_bytes",
			       json_object_new_uint64(contiguity->longest_bytes));
	json_object_object_add(object, "by_powers_of_2",
			       array_of(contiguity->runs_by_log2, VFB_RUNS_LOG2));
	json_object_object_add(object, "by_powers_of_10",
			       array_of(contiguity->runs_by_log10, VFB_RUNS_LOG10));
	return object;
}
