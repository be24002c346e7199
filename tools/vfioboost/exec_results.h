/* SPDX-License-Identifier: MIT */
#ifndef EXEC_RESULTS_H
#define EXEC_RESULTS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#include "exec_records.h"

/* Writes what a command did, as a table or as one JSON object. @remarks: an array of texts. False:
 * the file could not be written. */
bool exec_results_write(const struct exec_records *records, struct json_object *remarks, bool json,
			FILE *file);

#endif
