/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "target.h"

struct records *preload_records;

/* The thread's number, and the process that it was asked in: a fork leaves the variable behind. */
static _Thread_local struct {
	pid_t process, thread;
} records_thread __attribute__((tls_model("initial-exec")));

/*
 * Compared before the file is opened as well: the process that the path names may have ended, and
 * another one have its number. What that has there must not even be opened, which can have effects.
 */
static bool records_are(const struct stat *file)
{
	return S_ISREG(file->st_mode) && file->st_dev == preload_settings.device &&
	       file->st_ino == preload_settings.inode && file->st_size == RECORDS_BYTES &&
	       (file->st_uid == geteuid() || !file->st_uid);
}

bool preload_map_records(void)
{
	struct records *records = MAP_FAILED;
	struct stat file;
	int fd;

	if (stat(preload_settings.records, &file) || !records_are(&file))
		return false;
	fd = open(preload_settings.records, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (!fstat(fd, &file) && records_are(&file) &&
	    (fcntl(fd, F_GET_SEALS) & RECORDS_SEALS) == RECORDS_SEALS)
		records = mmap(NULL, RECORDS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (records == MAP_FAILED)
		return false;
	preload_records = records;
	return true;
}

static void records_raise(atomic_uint_fast64_t *value, uint64_t other)
{
	uint_fast64_t old = atomic_load(value);

	while (old < other && !atomic_compare_exchange_weak(value, &old, other))
		;
}

/* Open addressing. There are fewer kinds of calls than places, so one is found. */
static struct record_sum *records_find_sum(uint64_t key)
{
	for (size_t i = 0; i < RECORDS_SUMS; i++) {
		struct record_sum *sum = &preload_records->sums[(key + i) % RECORDS_SUMS];
		uint_fast64_t used = 0;

		if (atomic_load(&sum->key) == key ||
		    atomic_compare_exchange_strong(&sum->key, &used, key) || used == key)
			return sum;
	}
	return NULL;
}

static void records_add_to_sum(const struct record *record)
{
	struct record_sum *sum = records_find_sum(record_key(record));

	if (!sum)
		return;
	atomic_fetch_add(&sum->count, 1);
	atomic_fetch_add(&sum->errors, target_is_failure(record));
	atomic_fetch_add(&sum->total_ns, record->duration_ns);
	atomic_fetch_add(&sum->bytes, record->bytes);
	records_raise(&sum->max_ns, record->duration_ns);
}

static pid_t records_thread_number(void)
{
	if (records_thread.process != preload_process) {
		records_thread.thread = gettid();
		records_thread.process = preload_process;
	}
	return records_thread.thread;
}

void preload_note(const struct record *record)
{
	uint_fast64_t index = atomic_fetch_add(&preload_records->count, 1);
	struct record *place;

	if (index >= RECORDS_MAX) {
		records_add_to_sum(record);
		return;
	}
	place = &preload_records->all[index];
	*place = *record;
	place->process = preload_process;
	place->thread = records_thread_number();
	atomic_store_explicit(&place->complete, true, memory_order_release);
}

void preload_remark(const char *text)
{
	bool none = false;

	if (atomic_compare_exchange_strong(&preload_records->has_remark, &none, true))
		snprintf(preload_records->remark, sizeof(preload_records->remark), "%s", text);
}
