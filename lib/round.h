/* SPDX-License-Identifier: MIT */
#ifndef VFB_ROUND_H
#define VFB_ROUND_H

#include <stdint.h>

/* To a multiple of @unit, which is any number but 0. */
static inline uint64_t round_down(uint64_t value, uint64_t unit)
{
	return value - value % unit;
}

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
	return round_down(value + unit - 1, unit);
}

#endif
