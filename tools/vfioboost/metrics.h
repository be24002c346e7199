/* SPDX-License-Identifier: MIT */
#ifndef METRICS_H
#define METRICS_H

#include "results.h"

/* Writes the results as OpenMetrics text, for the textfile collector of Prometheus' node exporter:
 * the file is replaced at once. False: it could not be written, which has been reported. */
bool metrics_write(const struct results *results, const char *path);

#endif
