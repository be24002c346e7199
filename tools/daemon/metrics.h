/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "pool.h"

/* What the pool has counted, as OpenMetrics text; to be freed. NULL: out of memory. */
char *metrics_text(struct pool *pool);

#endif
