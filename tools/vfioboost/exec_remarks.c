/* SPDX-License-Identifier: MIT */
#include "exec_remarks.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the command populated by itself, before its last map. */
struct prealloc {
	uint64_t bytes, begin_ns, end_ns;
	int *threads;
	size_t count;
};

static int exec_compare_threads(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

static bool exec_find_prealloc(const struct exec_records *records, struct prealloc *prealloc)
{
	*prealloc = (struct prealloc){.begin_ns = UINT64_MAX};
	prealloc->threads = calloc(records->count + 1, sizeof(*prealloc->threads));
	for (size_t i = 0; prealloc->threads && i < records->count; i++) {
		const struct record *record = &records->all[i];

		if (record->kind != RECORD_PREALLOC || record->result)
			continue;
		prealloc->bytes += record->bytes;
		if (record->start_ns < prealloc->begin_ns)
			prealloc->begin_ns = record->start_ns;
		if (record->start_ns + record->duration_ns > prealloc->end_ns)
			prealloc->end_ns = record->start_ns + record->duration_ns;
		prealloc->threads[prealloc->count++] = record->thread;
	}
	return prealloc->count;
}

static size_t exec_count_threads(struct prealloc *prealloc)
{
	size_t threads = 1;

	qsort(prealloc->threads, prealloc->count, sizeof(*prealloc->threads), exec_compare_threads);
	for (size_t i = 1; i < prealloc->count; i++)
		threads += prealloc->threads[i] != prealloc->threads[i - 1];
	return threads;
}

void exec_remarks_add(const struct exec_records *records, struct json_object *remarks)
{
	struct prealloc prealloc;
	char text[512];

	if (exec_find_prealloc(records, &prealloc)) {
		snprintf(text, sizeof(text),
			 "the command populated %.1f MiB by itself before it mapped them, with %zu "
			 "thread(s) in %.3f s: if it leaves that to vfioboost exec (QEMU: "
			 "prealloc=off), %ld CPUs do it",
			 prealloc.bytes / 1048576.0, exec_count_threads(&prealloc),
			 (prealloc.end_ns - prealloc.begin_ns) / 1e9,
			 sysconf(_SC_NPROCESSORS_ONLN));
		json_object_array_add(remarks, json_object_new_string(text));
	}
	free(prealloc.threads);
}
