/* SPDX-License-Identifier: MIT */
/* vfioboost bench map --beside: little memory mapped alone, and while a job maps much. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <vfioboost.h>

#include "arguments.h"
#include "bench_small.h"
#include "clock.h"
#include "command.h"
#include "output.h"
#include "rounds.h"
#include "table.h"

#define GIB	   1073741824.0
#define LARGE_IOVA (UINT64_C(4) << 30)

/* Alone. Beside a job it is mapped as often as that allows, up to MAX_MAPS. */
#define MAPS	 256
#define MAX_MAPS 100000

enum way {
	BY_CALL,
	BY_CALL_COLD,
	BY_JOB,
	BY_JOB_COLD,
	BARE,
	WAYS,
};

/* Each way alone, then each beside the job. */
#define LINES (2 * WAYS)

enum {
	MEDIAN,
	LATE,
	LONGEST,
	COUNT,
	VALUES,
};

struct bench {
	const struct small_options *options;
	struct small_bench small;
	struct rounds rounds;
	double *samples;
};

/* A job that populates and maps memory of its own. */
struct large {
	struct vfb_range range;
	struct vfb_job *job;
};

static int large_begin(const struct bench *bench, struct large *large)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	int error;

	opts.bytes = bench->options->beside;
	opts.page_size = VFB_PAGE_BASE;
	*large = (struct large){.range = {.bytes = opts.bytes, .iova = LARGE_IOVA}};
	error = vfb_memory_create(bench->small.ctx, &opts, &large->range.memory);
	if (!error)
		error = vfb_space_map_start(bench->small.space, &large->range, 1, NULL,
					    &large->job);
	return error;
}

static int large_end(const struct bench *bench, struct large *large)
{
	int error = large->job ? vfb_job_wait(large->job, UINT64_MAX) : 0;

	vfb_job_destroy(large->job);
	if (large->job && !error)
		error = vfb_space_unmap(bench->small.space, &large->range, 1, NULL);
	vfb_memory_destroy(large->range.memory);
	return error;
}

static int map_by_job(struct vfb_space *space, struct vfb_range *range)
{
	struct vfb_job *job;
	int error = vfb_space_map_start(space, range, 1, NULL, &job);

	if (!error)
		error = vfb_job_wait(job, UINT64_MAX);
	vfb_job_destroy(job);
	return error;
}

static int map_once(const struct bench *bench, enum way way, struct vfb_range *range)
{
	const struct small_bench *small = &bench->small;

	if (way == BARE)
		return small_map_bare(small);
	if (way == BY_JOB || way == BY_JOB_COLD)
		return map_by_job(small->space, range);
	return vfb_space_map(small->space, range, 1, NULL);
}

static int unmap_once(const struct bench *bench, enum way way, struct vfb_range *range)
{
	const struct small_bench *small = &bench->small;

	return way == BARE ? small_unmap_bare(small) :
			     vfb_space_unmap(small->space, range, 1, NULL);
}

/* Maps once, of which the time is stored, and unmaps. */
static int sample(const struct bench *bench, enum way way, double *seconds)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_range range = {.iova = SMALL_IOVA};
	bool cold = way == BY_CALL_COLD || way == BY_JOB_COLD;
	double begin;
	int error = 0;

	range.memory = bench->small.memory;
	range.bytes = SMALL_PAGE;
	if (cold) {
		opts.bytes = range.bytes = 2 * SMALL_PAGE;
		opts.page_size = VFB_PAGE_BASE;
		error = vfb_memory_create(bench->small.ctx, &opts, &range.memory);
		if (error)
			return error;
	}
	begin = clock_seconds();
	error = map_once(bench, way, &range);
	*seconds = clock_seconds() - begin;
	if (!error)
		error = unmap_once(bench, way, &range);
	if (cold)
		vfb_memory_destroy(range.memory);
	return error;
}

static int compare_doubles(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void summarize(double *samples, size_t count, double *values)
{
	qsort(samples, count, sizeof(*samples), compare_doubles);
	values[MEDIAN] = samples[count / 2];
	values[LATE] = samples[count * 99 / 100];
	values[LONGEST] = samples[count - 1];
	values[COUNT] = count;
}

/* @job: NULL: MAPS samples; else as many as there are until it ends. */
static int take_samples(const struct bench *bench, enum way way, struct vfb_job *job,
			double *values)
{
	size_t count = 0, limit = job ? MAX_MAPS : MAPS;
	int error = 0;

	do
		error = sample(bench, way, &bench->samples[count]);
	while (!error && ++count < limit && (!job || vfb_job_wait(job, 0) == -ETIMEDOUT));
	if (!error)
		summarize(bench->samples, count, values);
	return error;
}

static int measure_beside(struct bench *bench, enum way way, double *values)
{
	struct large large;
	int error = large_begin(bench, &large), result;

	if (!error)
		error = take_samples(bench, way, large.job, values);
	result = large_end(bench, &large);
	return error ? error : result;
}

static int measure(void *data, size_t line, double *values)
{
	struct bench *bench = data;
	enum way way = line % WAYS;

	return complain(line < WAYS ? take_samples(bench, way, NULL, values) :
				      measure_beside(bench, way, values));
}

static const struct column columns[] = {
	{"way", "us", -28, 0, 0, NULL},
	{"populated", NULL, 0, 0, 0, NULL},
	{"alone_s", "alone", 9, 1, 1e6, NULL},
	{"beside_s", "beside", 9, 1, 1e6, NULL},
	{"ratio", "ratio", 8, 2, 0, NULL},
	{"alone_p99_s", "99 %", 10, 1, 1e6, NULL},
	{"beside_p99_s", "beside", 10, 1, 1e6, NULL},
	{"beside_longest_s", "longest", 11, 1, 1e6, NULL},
	{"beside_maps", "maps", 9, 0, 0, NULL},
};

static void fill_cells(const void *data, size_t way, struct json_object **cells)
{
	static const char *const names[WAYS] = {
		"vfb_space_map()",	 "the same, not populated",
		"vfb_space_map_start()", "the same, not populated",
		"system call",
	};
	static const char *const keys[WAYS] = {"call", "call", "job", "job", "syscall"};
	const struct bench *bench = data;
	const struct rounds *rounds = &bench->rounds;
	double alone = rounds_median(rounds, way, MEDIAN);
	double beside = rounds_median(rounds, WAYS + way, MEDIAN);

	*cells++ = json_object_new_string(bench->options->json ? keys[way] : names[way]);
	*cells++ = json_object_new_boolean(way != BY_CALL_COLD && way != BY_JOB_COLD);
	*cells++ = json_object_new_double(alone);
	*cells++ = json_object_new_double(beside);
	*cells++ = json_object_new_double(beside / alone);
	*cells++ = json_object_new_double(rounds_median(rounds, way, LATE));
	*cells++ = json_object_new_double(rounds_median(rounds, WAYS + way, LATE));
	*cells++ = json_object_new_double(rounds_longest(rounds, WAYS + way, LONGEST));
	*cells++ = json_object_new_double(rounds_median(rounds, WAYS + way, COUNT));
}

static int print(const struct bench *bench)
{
	const struct small_options *options = bench->options;
	const char *backend = backend_names[bench->small.info.backend];
	struct output output;

	output_begin(&output, options->json);
	output_text(&output,
		    "%ju KiB (%ju KiB if not populated) mapped alone, and beside a job of %.2f "
		    "GiB;\n"
		    "%s, Linux %s, medians of %u runs\n\n",
		    (uintmax_t)SMALL_PAGE >> 10, (uintmax_t)SMALL_PAGE >> 9, options->beside / GIB,
		    backend, output_kernel(), options->repeat);
	output_add(&output, "backend", json_object_new_string(backend));
	output_add(&output, "beside_bytes", json_object_new_uint64(options->beside));
	output_add(&output, "repeat", json_object_new_int(options->repeat));
	table_print(&output, "results", columns, sizeof(columns) / sizeof(columns[0]), WAYS,
		    fill_cells, bench);
	return output_end(&output);
}

int bench_map_beside(const struct small_options *options)
{
	struct bench bench = {.options = options};
	int status = EXIT_FAILED;

	bench.rounds = (struct rounds){LINES, VALUES, options->repeat, measure, &bench, NULL};
	bench.samples = calloc(MAX_MAPS, sizeof(*bench.samples));
	if (!bench.samples)
		complain(-ENOMEM);
	else if (!small_create(&bench.small, options) && !rounds_run(&bench.rounds, 0, LINES))
		status = print(&bench);
	rounds_free(&bench.rounds);
	small_destroy(&bench.small);
	free(bench.samples);
	return status;
}
