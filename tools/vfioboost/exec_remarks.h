/* SPDX-License-Identifier: MIT */
#ifndef EXEC_REMARKS_H
#define EXEC_REMARKS_H

#include <json-c/json.h>

#include "exec_records.h"

/* Adds to an array of texts what the trace does not show. */
void exec_remarks_add(const struct exec_records *records, struct json_object *remarks);

#endif
