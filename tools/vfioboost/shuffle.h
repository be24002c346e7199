/* SPDX-License-Identifier: MIT */
#ifndef SHUFFLE_H
#define SHUFFLE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The multiples of @step below @count * @step, in an order that is random, but the same each time.
 * The caller frees them. NULL: no memory, which has been printed.
 */
uint64_t *shuffle_offsets(size_t count, uint64_t step);

#endif
