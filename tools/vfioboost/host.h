/* SPDX-License-Identifier: MIT */
#ifndef HOST_H
#define HOST_H

#include <json-c/json.h>

/* What the doctor says of this host that is slow or fails: an array, empty without. */
struct json_object *host_findings(void);

#endif
