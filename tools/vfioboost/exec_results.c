/* SPDX-License-Identifier: MIT */
#include "exec_results.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../preload/target.h"
#include "exec_call.h"
#include "output.h"

#define SLOWEST 10

/* All calls of one kind. */
struct sum {
	char name[CALL_NAME];
	uint64_t count, errors, total_ns, max_ns, bytes;
};

/* Sums by kind, and the calls, slowest first. */
struct results {
	struct sum *sums;
	const struct record **calls;
	size_t sum_count, call_count;
	const struct exec_records *records;
	struct json_object *remarks;
};

static struct sum *results_find_sum(struct results *results, const char *name)
{
	for (size_t i = 0; i < results->sum_count; i++)
		if (!strcmp(results->sums[i].name, name))
			return &results->sums[i];
	snprintf(results->sums[results->sum_count].name, CALL_NAME, "%s", name);
	return &results->sums[results->sum_count++];
}

static uint64_t results_add_saturated(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static void results_add_sum(struct results *results, const struct exec_sum *more)
{
	char text[CALL_NAME];
	struct sum *sum = results_find_sum(results, exec_call_name(&more->call, text));

	sum->count = results_add_saturated(sum->count, more->count);
	sum->errors = results_add_saturated(sum->errors, more->errors);
	sum->total_ns = results_add_saturated(sum->total_ns, more->total_ns);
	sum->bytes = results_add_saturated(sum->bytes, more->bytes);
	if (more->max_ns > sum->max_ns)
		sum->max_ns = more->max_ns;
}

static void results_add_call(struct results *results, const struct record *record)
{
	results_add_sum(results, &(struct exec_sum){
					 .call = *record,
					 .count = 1,
					 .errors = target_is_failure(record),
					 .total_ns = record->duration_ns,
					 .max_ns = record->duration_ns,
					 .bytes = record->bytes,
				 });
	results->calls[results->call_count++] = record;
}

static int results_compare_sums(const void *a, const void *b)
{
	const struct sum *left = a, *right = b;

	return (left->total_ns < right->total_ns) - (left->total_ns > right->total_ns);
}

static int results_compare_calls(const void *a, const void *b)
{
	const struct record *left = *(const struct record *const *)a;
	const struct record *right = *(const struct record *const *)b;

	return (left->duration_ns < right->duration_ns) - (left->duration_ns > right->duration_ns);
}

static bool results_collect(struct results *results)
{
	const struct exec_records *records = results->records;

	results->sums = calloc(records->count + records->sum_count + 1, sizeof(*results->sums));
	results->calls = calloc(records->count + 1, sizeof(*results->calls));
	if (!results->sums || !results->calls)
		return false;
	for (size_t i = 0; i < records->count; i++)
		results_add_call(results, &records->all[i]);
	for (size_t i = 0; i < records->sum_count; i++)
		results_add_sum(results, &records->sums[i]);
	qsort(results->sums, results->sum_count, sizeof(*results->sums), results_compare_sums);
	qsort(results->calls, results->call_count, sizeof(*results->calls), results_compare_calls);
	return true;
}

static double results_seconds(uint64_t ns)
{
	return ns / 1e9;
}

static void results_print_sums(const struct results *results, FILE *file)
{
	fprintf(file, "%10s %10s %7s %7s %10s  %s\n", "seconds", "longest", "calls", "errors",
		"MiB", "call");
	for (size_t i = 0; i < results->sum_count; i++) {
		const struct sum *sum = &results->sums[i];

		fprintf(file, "%10.6f %10.6f %7" PRIu64 " %7" PRIu64 " %10.1f  %s\n",
			results_seconds(sum->total_ns), results_seconds(sum->max_ns), sum->count,
			sum->errors, sum->bytes / 1048576.0, sum->name);
	}
}

static void results_print_slowest(const struct results *results, FILE *file)
{
	char text[CALL_NAME], device[TARGET_ADDRESS];

	fprintf(file, "\n%10s %10s  %s\n", "seconds", "MiB", "slowest calls");
	for (size_t i = 0; i < results->call_count && i < SLOWEST; i++) {
		const struct record *call = results->calls[i];

		target_address(call->device, device);
		fprintf(file, "%10.6f %10.1f  %s%s%s", results_seconds(call->duration_ns),
			call->bytes / 1048576.0, exec_call_name(call, text), *device ? " " : "",
			device);
		if (call->bytes)
			fprintf(file, " iova %#llx", (unsigned long long)call->iova);
		if (call->result < 0)
			fprintf(file, " = %s", strerror(-call->result));
		fprintf(file, "\n");
	}
}

/* What is missing in the results, and why. */
static void results_print_gaps(const struct exec_records *records, FILE *file)
{
	if (records->lost)
		fprintf(file, "%" PRIu64 " more calls are in the sums only\n", records->lost);
	if (records->damaged)
		fprintf(file, "%" PRIu64 " records are invalid and were left out\n",
			records->damaged);
	if (*records->remark)
		fprintf(file, "not boosted: %s\n", records->remark);
}

static void results_print_table(const struct results *results, FILE *file)
{
	if (!results->sum_count) {
		fprintf(file, "vfioboost exec: the command used no VFIO and no iommufd\n");
		results_print_gaps(results->records, file);
		return;
	}
	fprintf(file, "\n");
	results_print_sums(results, file);
	results_print_slowest(results, file);
	results_print_gaps(results->records, file);
	if (json_object_array_length(results->remarks))
		fprintf(file, "\n");
	for (size_t i = 0; i < json_object_array_length(results->remarks); i++)
		fprintf(file, "%s\n",
			json_object_get_string(json_object_array_get_idx(results->remarks, i)));
}

static struct json_object *results_sum_object(const struct sum *sum)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "call", json_object_new_string(sum->name));
	json_object_object_add(object, "count", json_object_new_uint64(sum->count));
	json_object_object_add(object, "errors", json_object_new_uint64(sum->errors));
	json_object_object_add(object, "total_s",
			       json_object_new_double(results_seconds(sum->total_ns)));
	json_object_object_add(object, "max_s",
			       json_object_new_double(results_seconds(sum->max_ns)));
	json_object_object_add(object, "bytes", json_object_new_uint64(sum->bytes));
	return object;
}

static struct json_object *results_call_object(const struct record *call)
{
	struct json_object *object = json_object_new_object();
	char text[CALL_NAME], device[TARGET_ADDRESS];

	target_address(call->device, device);
	json_object_object_add(object, "call", json_object_new_string(exec_call_name(call, text)));
	json_object_object_add(object, "process", json_object_new_int(call->process));
	json_object_object_add(object, "thread", json_object_new_int(call->thread));
	json_object_object_add(object, "start_ns", json_object_new_uint64(call->start_ns));
	json_object_object_add(object, "duration_ns", json_object_new_uint64(call->duration_ns));
	json_object_object_add(object, "result", json_object_new_int(call->result));
	if (*device)
		json_object_object_add(object, "device", json_object_new_string(device));
	if (call->bytes) {
		json_object_object_add(object, "bytes", json_object_new_uint64(call->bytes));
		json_object_object_add(object, "iova", json_object_new_uint64(call->iova));
		json_object_object_add(object, "address", json_object_new_uint64(call->address));
	}
	return object;
}

static void results_print_json(const struct results *results, FILE *file)
{
	struct json_object *object = output_object(), *sums = json_object_new_array();
	struct json_object *calls = json_object_new_array();
	const struct exec_records *records = results->records;

	for (size_t i = 0; i < results->sum_count; i++)
		json_object_array_add(sums, results_sum_object(&results->sums[i]));
	for (size_t i = 0; i < results->call_count; i++)
		json_object_array_add(calls, results_call_object(results->calls[i]));
	json_object_object_add(object, "sums", sums);
	json_object_object_add(object, "calls", calls);
	json_object_object_add(object, "lost", json_object_new_uint64(records->lost));
	json_object_object_add(object, "damaged", json_object_new_uint64(records->damaged));
	json_object_object_add(object, "not_boosted", json_object_new_string(records->remark));
	json_object_object_add(object, "remarks", json_object_get(results->remarks));
	fprintf(file, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

bool exec_results_write(const struct exec_records *records, struct json_object *remarks, bool json,
			FILE *file)
{
	struct results results = {.records = records, .remarks = remarks};
	bool complete = results_collect(&results);

	if (complete && json)
		results_print_json(&results, file);
	else if (complete)
		results_print_table(&results, file);
	free(results.sums);
	free(results.calls);
	return complete && !fflush(file) && !ferror(file);
}
