/* SPDX-License-Identifier: MIT */
#ifndef CLOCK_H
#define CLOCK_H

/* Seconds of CLOCK_MONOTONIC. */
double clock_seconds(void);

#endif
