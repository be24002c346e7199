/* SPDX-License-Identifier: MIT */
#ifndef RECORDS_H
#define RECORDS_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sys/ioctl_name.h"

/*
 * What the preloaded object reports to `vfioboost exec`: a memory file that the processes of the
 * command map, so that nothing is lost when one is killed, and writing takes no system call.
 *
 * Any process of the command can write anything here, whatever privileges it has given up. So
 * nobody acts on the contents: the object only adds to them, and exec parses a copy as hostile.
 */
#define RECORDS_MAX (1u << 16)
/* More than there are kinds of calls, see record_key(). */
#define RECORDS_SUMS 256
#define RECORDS_MODE 0600
#define REMARK_BYTES 320

/*
 * The size never changes, so that no access raises SIGBUS. F_SEAL_FUTURE_WRITE cannot be set: each
 * program that the command executes maps the file for writing when it starts, which the seal would
 * refuse with EPERM (seal_check_write()); a mapping does not outlive execve().
 */
#define RECORDS_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

enum record_kind {
	/* An ioctl of the command; request and target say which. */
	RECORD_IOCTL,
	/* close(2) of a device. */
	RECORD_CLOSE,
	/* Memory that was populated before the command's own map. */
	RECORD_POPULATE,
	/* A device that was released at exit. */
	RECORD_RELEASE,
	/* Memory that the command populated by itself; request: enum record_prealloc. */
	RECORD_PREALLOC,
};

enum record_prealloc {
	RECORD_MADVISE,
	RECORD_MMAP,
};

struct record {
	/* Set last: a record that was begun when the command was killed is left out. */
	atomic_bool complete;
	uint8_t kind;
	/* What the file descriptor is of: enum vfb_ioctl_target. */
	uint8_t target;
	/* The number within type ';': 100 and above for VFIO, 0x80 and above for iommufd. */
	uint8_t request;
	/* Which one, of VFIO_DEVICE_FEATURE. */
	uint16_t feature;
	/* The value returned, or -errno. */
	int32_t result;
	int32_t process, thread;
	/* CLOCK_MONOTONIC. */
	uint64_t start_ns, duration_ns;
	/* The range of a map or unmap. */
	uint64_t address, bytes, iova;
	/* The device, where it is known: domain << 16 | bus << 8 | device and function, + 1. */
	uint64_t device;
};

/* The calls of one kind that found no room in records.all. */
struct record_sum {
	/* What they have in common, see record_key(); 0: unused. */
	atomic_uint_fast64_t key;
	atomic_uint_fast64_t count, errors, total_ns, max_ns, bytes;
};

struct records {
	/* How many records were begun; those above RECORDS_MAX are in the sums. */
	atomic_uint_fast64_t count;
	/* Why something was not boosted, the first reason; "" for none. */
	atomic_bool has_remark;
	char remark[REMARK_BYTES];

	struct record_sum sums[RECORDS_SUMS];
	/* RECORDS_MAX of them. */
	struct record all[];
};

#define RECORDS_BYTES (sizeof(struct records) + RECORDS_MAX * sizeof(struct record))

/* Features above are taken for one. */
#define RECORD_FEATURES 64

/* What records of the same call have in common; never 0. */
static inline uint64_t record_key(const struct record *record)
{
	uint64_t feature = record->feature < RECORD_FEATURES ? record->feature : UINT16_MAX;

	return UINT64_C(1) << 40 | (uint64_t)record->kind << 32 | (uint64_t)record->target << 24 |
	       record->request << 16 | feature;
}

/* The way back. */
static inline struct record record_of_key(uint64_t key)
{
	return (struct record){
		.kind = key >> 32 & 0xff,
		.target = key >> 24 & 0xff,
		.request = key >> 16 & 0xff,
		.feature = key & 0xffff,
	};
}

#endif
