/* SPDX-License-Identifier: MIT */
#include "exec_results.h"

#include <stdlib.h>
#include <string.h>

#include "../preload/target.h"
#include "exec_call.h"
#include "output.h"

#define SLOWEST 10

/* All calls of one kind. */
struct sum {
	char name[CALL_NAME];
	unsigned int count, errors;
	uint64_t total_ns, max_ns, bytes;
};

/* Sums by kind, and the calls, slowest first. */
struct results {
	struct sum *sums;
	const struct record **calls;
	size_t sum_count, call_count, lost;
	const char *not_boosted;
	struct json_object *remarks;
};

static struct sum *find_sum(struct results *results, const char *name)
{
	for (size_t i = 0; i < results->sum_count; i++)
		if (!strcmp(results->sums[i].name, name))
			return &results->sums[i];
	snprintf(results->sums[results->sum_count].name, CALL_NAME, "%s", name);
	return &results->sums[results->sum_count++];
}

static void add(struct results *results, const struct record *record)
{
	char text[CALL_NAME];
	struct sum *sum = find_sum(results, exec_call_name(record, text));

	sum->count++;
	sum->errors += record->result < 0;
	sum->total_ns += record->duration_ns;
	sum->bytes += record->bytes;
	if (record->duration_ns > sum->max_ns)
		sum->max_ns = record->duration_ns;
	results->calls[results->call_count++] = record;
}

static int slowest_sum(const void *a, const void *b)
{
	const struct sum *left = a, *right = b;

	return (left->total_ns < right->total_ns) - (left->total_ns > right->total_ns);
}

static int slowest_call(const void *a, const void *b)
{
	const struct record *left = *(const struct record *const *)a;
	const struct record *right = *(const struct record *const *)b;

	return (left->duration_ns < right->duration_ns) - (left->duration_ns > right->duration_ns);
}

static bool collect(struct results *results, struct records *records)
{
	size_t count = atomic_load(&records->count);

	results->lost = count > RECORDS_MAX ? count - RECORDS_MAX : 0;
	count -= results->lost;
	results->not_boosted = records->remark;
	results->sums = calloc(count + 1, sizeof(*results->sums));
	results->calls = calloc(count + 1, sizeof(*results->calls));
	if (!results->sums || !results->calls)
		return false;
	for (size_t i = 0; i < count; i++)
		if (atomic_load(&records->all[i].complete))
			add(results, &records->all[i]);
	qsort(results->sums, results->sum_count, sizeof(*results->sums), slowest_sum);
	qsort(results->calls, results->call_count, sizeof(*results->calls), slowest_call);
	return true;
}

static double seconds(uint64_t ns)
{
	return ns / 1e9;
}

static void print_sums(const struct results *results, FILE *file)
{
	fprintf(file, "%10s %10s %7s %7s %10s  %s\n", "seconds", "longest", "calls", "errors",
		"MiB", "call");
	for (size_t i = 0; i < results->sum_count; i++) {
		const struct sum *sum = &results->sums[i];

		fprintf(file, "%10.6f %10.6f %7u %7u %10.1f  %s\n", seconds(sum->total_ns),
			seconds(sum->max_ns), sum->count, sum->errors, sum->bytes / 1048576.0,
			sum->name);
	}
}

static void print_slowest(const struct results *results, FILE *file)
{
	char text[CALL_NAME], device[TARGET_ADDRESS];

	fprintf(file, "\n%10s %10s  %s\n", "seconds", "MiB", "slowest calls");
	for (size_t i = 0; i < results->call_count && i < SLOWEST; i++) {
		const struct record *call = results->calls[i];

		target_address(call->device, device);
		fprintf(file, "%10.6f %10.1f  %s%s%s", seconds(call->duration_ns),
			call->bytes / 1048576.0, exec_call_name(call, text), *device ? " " : "",
			device);
		if (call->bytes)
			fprintf(file, " iova %#llx", (unsigned long long)call->iova);
		if (call->result < 0)
			fprintf(file, " = %s", strerror(-call->result));
		fprintf(file, "\n");
	}
}

static void print_table(const struct results *results, FILE *file)
{
	if (!results->call_count) {
		fprintf(file, "vfioboost exec: the command used no VFIO and no iommufd\n");
		return;
	}
	fprintf(file, "\n");
	print_sums(results, file);
	print_slowest(results, file);
	if (results->lost)
		fprintf(file, "%zu more calls were not recorded\n", results->lost);
	if (*results->not_boosted)
		fprintf(file, "not boosted: %s\n", results->not_boosted);
	if (json_object_array_length(results->remarks))
		fprintf(file, "\n");
	for (size_t i = 0; i < json_object_array_length(results->remarks); i++)
		fprintf(file, "%s\n",
			json_object_get_string(json_object_array_get_idx(results->remarks, i)));
}

static struct json_object *sum_object(const struct sum *sum)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "call", json_object_new_string(sum->name));
	json_object_object_add(object, "count", json_object_new_int64(sum->count));
	json_object_object_add(object, "errors", json_object_new_int64(sum->errors));
	json_object_object_add(object, "total_s", json_object_new_double(seconds(sum->total_ns)));
	json_object_object_add(object, "max_s", json_object_new_double(seconds(sum->max_ns)));
	json_object_object_add(object, "bytes", json_object_new_uint64(sum->bytes));
	return object;
}

static struct json_object *call_object(const struct record *call)
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

static void print_json(const struct results *results, FILE *file)
{
	struct json_object *object = output_object(), *sums = json_object_new_array();
	struct json_object *calls = json_object_new_array();

	for (size_t i = 0; i < results->sum_count; i++)
		json_object_array_add(sums, sum_object(&results->sums[i]));
	for (size_t i = 0; i < results->call_count; i++)
		json_object_array_add(calls, call_object(results->calls[i]));
	json_object_object_add(object, "sums", sums);
	json_object_object_add(object, "calls", calls);
	json_object_object_add(object, "lost", json_object_new_uint64(results->lost));
	json_object_object_add(object, "not_boosted", json_object_new_string(results->not_boosted));
	json_object_object_add(object, "remarks", json_object_get(results->remarks));
	fprintf(file, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

bool exec_results_write(struct records *records, struct json_object *remarks, bool json, FILE *file)
{
	struct results results = {.remarks = remarks};
	bool complete = collect(&results, records);

	if (complete && json)
		print_json(&results, file);
	else if (complete)
		print_table(&results, file);
	free(results.sums);
	free(results.calls);
	return complete && !fflush(file) && !ferror(file);
}
