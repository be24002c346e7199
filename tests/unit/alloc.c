/* SPDX-License-Identifier: MIT */
#include "alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static atomic_uint calls, failing;

void alloc_fail_nth(unsigned int n)
{
	atomic_store(&failing, n);
	atomic_store(&calls, 0);
}

unsigned int alloc_calls(void)
{
	return atomic_load(&calls);
}

static bool fails(void)
{
	if (atomic_fetch_add(&calls, 1) + 1 != atomic_load(&failing))
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
