/* SPDX-License-Identifier: MIT */
#ifndef HOST_H
#define HOST_H

#include <json-c/json.h>

/*
 * What the doctor says of this host that is slow or fails: an array, empty without. @devices: the
 * PCI addresses of those that it is to look at, none for all that are bound to VFIO.
 */
struct json_object *host_findings(const char *const *devices, size_t count);

#endif
