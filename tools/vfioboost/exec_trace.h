/* SPDX-License-Identifier: MIT */
#ifndef EXEC_TRACE_H
#define EXEC_TRACE_H

#include <stdbool.h>

#include "exec_records.h"

/*
 * Writes what a command did as a trace, see vfioboost/trace.h: a group of tracks for each process,
 * with one track for each thread. @fd: an empty file. False: it could not be written, and
 * vfb_last_error() gives the reason.
 */
bool exec_trace_write(const struct exec_records *records, int fd);

#endif
