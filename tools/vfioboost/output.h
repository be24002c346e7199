/* SPDX-License-Identifier: MIT */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <json-c/json.h>
#include <stdbool.h>

/* A new object with what every --json begins with: the schema and the kernel. */
struct json_object *output_object(void);

/* Prints the object on one line of stdout and frees it. False: it could not be written. */
bool output_json(struct json_object *object);

/* Whether all that was printed on stdout could be written. */
bool output_flush(void);

#endif
