/* SPDX-License-Identifier: MIT */
#ifndef STATISTICS_H
#define STATISTICS_H

#include <stddef.h>

/* The median of @count values, which are put into order for that; 0 for none. */
double median(double *values, size_t count);

#endif
