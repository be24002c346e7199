/* SPDX-License-Identifier: MIT */
#ifndef DENSITY_H
#define DENSITY_H

#include <json-c/json.h>
#include <stdio.h>

/* The file of vfioboost bench density --json, or NULL if it is none. The caller puts it. */
struct json_object *density_read(const char *path);

/*
 * Draws it as SVG: how many guests fit, their throughput together, and how long each took to start.
 * Files are as others wrote them: what is no number that can be drawn is left out.
 */
void density_draw(FILE *file, struct json_object *bench);

#endif
