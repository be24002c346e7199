/* SPDX-License-Identifier: MIT */
#include "alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static atomic_uint calls, failing;
static atomic_bool and_later;

void alloc_fail_from(unsigned int n)
{
	alloc_fail_nth(n);
	atomic_store(&and_later, true);
}

void alloc_fail_nth(unsigned int n)
{
	atomic_store(&and_later, false);
	atomic_store(&failing, n);
	atomic_store(&calls, 0);
}

unsigned int alloc_calls(void)
{
	return atomic_load(&calls);
}

static bool fails(void)
{
	unsigned int call = atomic_fetch_add(&calls, 1) + 1, first = atomic_load(&failing);

	if (call != first && !(atomic_load(&and_later) && call > first))
		return false;
	errno = ENOMEM;
	return true;
}

void *test_malloc(size_t bytes)
{
	return fails() ? NULL : malloc(bytes);
}

void *test_calloc(size_t count, size_t bytes)
{
	return fails() ? NULL : calloc(count, bytes);
}

void *test_realloc(void *old, size_t bytes)
{
	return fails() ? NULL : realloc(old, bytes);
}

void *test_aligned_alloc(size_t alignment, size_t bytes)
{
	return fails() ? NULL : aligned_alloc(alignment, bytes);
}
