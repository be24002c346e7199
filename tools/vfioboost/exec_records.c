/* SPDX-License-Identifier: MIT */
#include "exec_records.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../preload/target.h"

/* Linux 6.3; older kernels refuse it with EINVAL. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define MAX_ERRNO 4095
#define HEADER	  sizeof(struct records)

int exec_records_create(void)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("vfioboost-exec", flags | MFD_NOEXEC_SEAL), error;

	if (fd < 0)
		fd = memfd_create("vfioboost-exec", flags);
	if (fd < 0)
		return -errno;
	if (!fchmod(fd, RECORDS_MODE) && !ftruncate(fd, RECORDS_BYTES) &&
	    !fcntl(fd, F_ADD_SEALS, RECORDS_SEALS))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static uint64_t exec_add_saturated(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* A node's number is checked when it is looked up. */
static bool exec_is_device(uint64_t device)
{
	return !device || device & TARGET_NODE || (device - 1) >> 48 == 0;
}

static bool exec_is_call(const struct record *record)
{
	return record->kind <= RECORD_PREALLOC && record->target <= VFB_IOCTL_IOMMUFD;
}

static bool exec_is_valid(const struct record *record, uint64_t now_ns)
{
	return exec_is_call(record) && record->result >= -MAX_ERRNO && record->process > 0 &&
	       record->thread > 0 && record->start_ns <= now_ns &&
	       record->duration_ns <= now_ns - record->start_ns && exec_is_device(record->device);
}

/* Moves the valid ones to the beginning. */
static void exec_parse_calls(struct exec_records *records, size_t count, uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++) {
		const struct record *record = &records->all[i];

		if (!record->complete)
			continue;
		if (exec_is_valid(record, now_ns))
			records->all[records->count++] = *record;
		else
			records->damaged++;
	}
}

/* Programs populate memory for other reasons as well. */
static bool exec_has_ioctl(const struct exec_records *records)
{
	for (size_t i = 0; i < records->count; i++)
		if (records->all[i].kind == RECORD_IOCTL)
			return true;
	return false;
}

static void exec_parse_sum(struct exec_records *records, const struct record_sum *raw)
{
	struct exec_sum *sum = &records->sums[records->sum_count];

	*sum = (struct exec_sum){
		.call = record_of_key(raw->key),
		.count = raw->count,
		.errors = raw->errors,
		.total_ns = raw->total_ns,
		.max_ns = raw->max_ns,
		.bytes = raw->bytes,
	};
	if (!sum->count || sum->errors > sum->count || sum->max_ns > sum->total_ns ||
	    !exec_is_call(&sum->call))
		return;
	records->lost = exec_add_saturated(records->lost, sum->count);
	records->sum_count++;
}

/* It is shown on a terminal, and in JSON. */
static void exec_parse_remark(struct exec_records *records)
{
	const char *raw = records->raw->remark;
	size_t length = strnlen(raw, sizeof(records->raw->remark));

	for (size_t i = 0; i < length; i++)
		records->remark[i] = raw[i] >= ' ' && raw[i] <= '~' ? raw[i] : '?';
	records->remark[length] = '\0';
}

void exec_records_parse(struct exec_records *records, struct records *raw, size_t bytes,
			uint64_t now_ns)
{
	size_t count = bytes < HEADER ? 0 : (bytes - HEADER) / sizeof(struct record);

	records->raw = raw;
	records->all = raw->all;
	records->count = records->sum_count = 0;
	records->lost = records->damaged = 0;
	records->remark[0] = '\0';
	if (bytes < HEADER)
		return;
	if (count > RECORDS_MAX)
		count = RECORDS_MAX;
	if (count > raw->count)
		count = raw->count;
	exec_parse_calls(records, count, now_ns);
	if (!exec_has_ioctl(records))
		records->count = 0;
	for (size_t i = 0; i < RECORDS_SUMS; i++)
		if (raw->sums[i].key)
			exec_parse_sum(records, &raw->sums[i]);
	exec_parse_remark(records);
}

/* A device node has its device beside it in sysfs. */
static uint64_t exec_find_device(uint64_t node)
{
	char path[64], link[256];
	const char *last;
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device",
		 (unsigned int)(node >> 20 & 0xfff), (unsigned int)(node & 0xfffff));
	length = readlink(path, link, sizeof(link) - 1);
	link[length > 0 ? length : 0] = '\0';
	last = strrchr(link, '/');
	return last ? target_number(last + 1) : 0;
}

static void exec_name_devices(struct exec_records *records)
{
	uint64_t node = 0, device = 0;

	for (size_t i = 0; i < records->count; i++) {
		struct record *record = &records->all[i];

		if (!(record->device & TARGET_NODE))
			continue;
		if (record->device != node) {
			node = record->device;
			device = exec_find_device(node);
		}
		record->device = device;
	}
}

static uint64_t exec_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

/* read(2), where a mapping would allocate what was never written. */
int exec_records_read(struct exec_records *records, int fd)
{
	struct records *raw = calloc(1, RECORDS_BYTES);
	size_t bytes = HEADER;
	ssize_t length;

	*records = (struct exec_records){0};
	if (!raw)
		return -ENOMEM;
	length = pread(fd, raw, HEADER, 0);
	if (length == (ssize_t)HEADER) {
		bytes += (raw->count < RECORDS_MAX ? raw->count : RECORDS_MAX) *
			 sizeof(struct record);
		length = pread(fd, raw->all, bytes - HEADER, HEADER);
	}
	if (length < 0) {
		free(raw);
		return -errno;
	}
	exec_records_parse(records, raw, HEADER + length, exec_now());
	exec_name_devices(records);
	return 0;
}

void exec_records_free(struct exec_records *records)
{
	free(records->raw);
}
