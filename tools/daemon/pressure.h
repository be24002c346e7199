/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PRESSURE_H
#define DAEMON_PRESSURE_H

#include "pool.h"

/*
 * Watches the pressure of memory (PSI): when tasks wait for memory, those who fill slots are
 * stopped, and ready slots are released. Nothing happens on kernels without PSI.
 */
void pressure_init(struct pool *pool);

/* Lets them go on when there is no pressure any more. Returns when to call it again, in
 * milliseconds; -1: not. */
int pressure_step(void);

#endif
