/* SPDX-License-Identifier: MIT */
#ifndef CONTIGUITY_H
#define CONTIGUITY_H

#include <json-c/json.h>
#include <vfioboost.h>

/* How contiguous memory is, on stdout, by powers of two and of ten of base pages. */
void contiguity_print(const struct vfb_contiguity *contiguity);

/* The same as an object. */
struct json_object *contiguity_object(const struct vfb_contiguity *contiguity);

#endif
