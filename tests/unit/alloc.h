/* SPDX-License-Identifier: MIT */
/* Allocations of the library that fail on demand: it is compiled with these instead. */
#ifndef TEST_ALLOC_H
#define TEST_ALLOC_H

#include <stddef.h>

/* The @n-th allocation from now on fails, 0: none. */
void alloc_fail_nth(unsigned int n);
/* And all that follow. */
void alloc_fail_from(unsigned int n);
/* How many were made since then. */
unsigned int alloc_calls(void);

void *test_malloc(size_t bytes);
void *test_calloc(size_t count, size_t bytes);
void *test_aligned_alloc(size_t alignment, size_t bytes);
void *test_realloc(void *old, size_t bytes);

#endif
