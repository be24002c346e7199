/* SPDX-License-Identifier: MIT */
/*
 * Memory that the command populates by itself, by the calls that are made for it. It is recorded,
 * since nothing is left to be done when it is mapped.
 */
/* It would make mmap() another name of mmap64(); both are defined here. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "boost.h"
#include "next.h"
#include "preload.h"
#include "sys/uapi.h"

static bool prealloc_is_recorded(size_t bytes)
{
	return preload_records && !preload_inside && bytes >= BOOST_MIN_BYTES;
}

static void prealloc_note(enum record_prealloc call, const void *address, size_t bytes,
			  uint64_t start_ns, int result)
{
	int error = errno;

	preload_check_process();
	preload_note(&(struct record){
		.kind = RECORD_PREALLOC,
		.request = call,
		.result = result ? -error : 0,
		.start_ns = start_ns,
		.duration_ns = preload_now() - start_ns,
		.address = (uintptr_t)address,
		.bytes = bytes,
	});
	errno = error;
}

EXPORT int madvise(void *address, size_t bytes, int advice)
{
	uint64_t start_ns;
	int result;

	if (advice != MADV_POPULATE_WRITE || !prealloc_is_recorded(bytes))
		return NEXT(madvise)(address, bytes, advice);
	start_ns = preload_now();
	result = NEXT(madvise)(address, bytes, advice);
	prealloc_note(RECORD_MADVISE, address, bytes, start_ns, result);
	return result;
}

EXPORT void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	uint64_t start_ns;
	void *result;

	if (!(flags & MAP_POPULATE) || !(protection & PROT_WRITE) || !prealloc_is_recorded(bytes))
		return NEXT(mmap)(address, bytes, protection, flags, fd, offset);
	start_ns = preload_now();
	result = NEXT(mmap)(address, bytes, protection, flags, fd, offset);
	prealloc_note(RECORD_MMAP, result, bytes, start_ns, result == MAP_FAILED);
	return result;
}

/* The same on a 64-bit system. */
EXPORT void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
