/* SPDX-License-Identifier: MIT */
#ifndef EXEC_HOST_H
#define EXEC_HOST_H

#include <json-c/json.h>

#include "exec_records.h"

/* The findings of the doctor about this host that concern what the command did: an array. */
struct json_object *exec_host_findings(const struct exec_records *records);

#endif
