/* SPDX-License-Identifier: MIT */
/*
 * What a command below `vfioboost exec` left in the records: the input is how much of the file was
 * read, the header, and some records. Everything that was parsed is then shown.
 */
#include <stdio.h>

#include "../../tools/preload/target.h"
#include "../../tools/vfioboost/exec_call.h"
#include "../../tools/vfioboost/exec_records.h"
#include "input.h"

#define NOW UINT64_C(1000000000000)

static void fill_header(struct records *raw, struct input *input)
{
	raw->count = input_chance(input, 4) ? input_u64(input) : input_u8(input);
	input_read(input, raw->remark, input_below(input, sizeof(raw->remark) + 1));
	for (unsigned int i = input_below(input, 8); i; i--) {
		struct record_sum *sum = &raw->sums[input_below(input, RECORDS_SUMS)];

		sum->key = input_u64(input);
		sum->count = input_u64(input);
		sum->errors = input_u8(input);
		sum->total_ns = input_u64(input);
		sum->max_ns = input_u32(input);
		sum->bytes = input_u64(input);
	}
}

/* Near the values that are valid, else hardly one would be. */
static void fill_record(struct record *record, struct input *input)
{
	unsigned int bits = input_u8(input);

	if (bits & 1) {
		input_read(input, record, sizeof(*record));
		record->complete = bits & 2;
		return;
	}
	record->complete = true;
	record->kind = input_below(input, RECORD_PREALLOC + 2);
	record->target = input_below(input, VFB_IOCTL_IOMMUFD + 2);
	record->request = input_u8(input);
	record->feature = bits & 4 ? input_u32(input) : input_u8(input);
	record->result = bits & 8 ? (int32_t)input_u32(input) : -(int)input_u8(input);
	record->process = record->thread = input_u8(input);
	record->start_ns = bits & 16 ? input_u64(input) : input_u32(input);
	record->duration_ns = bits & 32 ? input_u64(input) : input_u32(input);
	record->device = bits & 64 ? input_u64(input) : input_u32(input);
	record->bytes = bits & 128 ? input_u64(input) : 0;
}

static void check(int right)
{
	if (!right)
		abort();
}

static void show_call(const struct record *call)
{
	char text[CALL_NAME], device[TARGET_ADDRESS];

	check(exec_call_name(call, text) && strlen(exec_call_name(call, text)) < CALL_NAME);
	check(vfb_phase_name(exec_call_phase(call)) != NULL);
	check(!target_is_failure(call) || call->result < 0);
	target_address(call->device, device);
	check(strlen(device) < TARGET_ADDRESS);
}

static void show(const struct exec_records *records)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < records->count; i++) {
		show_call(&records->all[i]);
		check(records->all[i].result >= -4095);
		check(records->all[i].start_ns + records->all[i].duration_ns <= NOW);
	}
	for (size_t i = 0; i < records->sum_count; i++) {
		show_call(&records->sums[i].call);
		check(records->sums[i].count > 0);
		lost += records->sums[i].count;
	}
	check(lost == records->lost || records->lost == UINT64_MAX);
	for (const char *c = records->remark; *c; c++)
		check(*c >= ' ' && *c <= '~');
	check(strlen(records->remark) < sizeof(records->remark));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, data + bytes};
	unsigned int count = input_u8(&input) % 16;
	size_t cut = input_chance(&input, 8) ? input_u32(&input) : 0, size;
	struct exec_records records;
	struct records *raw;

	size = sizeof(*raw) + count * sizeof(struct record);
	/* No larger than what was read: sanitizers see each byte that is read beyond it. */
	raw = calloc(1, size);
	if (!raw)
		abort();
	fill_header(raw, &input);
	for (unsigned int i = 0; i < count; i++)
		fill_record(&raw->all[i], &input);
	exec_records_parse(&records, raw, cut < size ? size - cut : 0, NOW);
	show(&records);
	exec_records_free(&records);
	return 0;
}
