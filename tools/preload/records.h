/* SPDX-License-Identifier: MIT */
#ifndef RECORDS_H
#define RECORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sys/ioctl_name.h"

/*
 * What `vfioboost exec` tells the object that it preloads, and what that tells it: a memory file
 * that both map, so that nothing is lost when the command is killed, and so that writing takes no
 * system call. The command finds it under the path in this variable.
 */
#define RECORDS_VARIABLE "VFIOBOOST_EXEC"
#define RECORDS_VERSION	 2
#define RECORDS_MAX	 (1u << 16)

enum record_kind {
	/* An ioctl of the command; request and target say which. */
	RECORD_IOCTL,
	/* close(2) of a device. */
	RECORD_CLOSE,
	/* Memory that was populated before the command's own map. */
	RECORD_POPULATE,
	/* A device that was let go at exit. */
	RECORD_RELEASE,
};

struct record {
	/* Set last: what has been begun when the command was killed is left out. */
	atomic_bool complete;
	uint8_t kind;
	/* What it was asked of: enum vfb_ioctl_target. */
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
	/* What a map or unmap was about. */
	uint64_t address, bytes, iova;
	/* The device, where it is known: domain << 16 | bus << 8 | device and function, + 1. */
	uint64_t device;
};

struct records {
	uint32_t version;
	/* What to do. */
	bool boost, thp;
	uint32_t threads;
	/* The program that closes devices after the command has ended; "" for none. */
	char reaper[256];
	/* The command itself; other processes inherit the preloaded object from it. */
	int32_t process;

	/* How many records were begun; those above RECORDS_MAX are lost. */
	atomic_uint_fast32_t count;
	/* Why something was not boosted, the first reason; "" for none. */
	atomic_bool has_remark;
	char remark[160];

	struct record all[RECORDS_MAX];
};

#endif
