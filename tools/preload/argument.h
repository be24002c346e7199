/* SPDX-License-Identifier: MIT */
#ifndef ARGUMENT_H
#define ARGUMENT_H

#include "boost.h"
#include "records.h"

/* Whether the argument of this request says something; kind, target and request are set. */
bool argument_is_read(const struct record *record);

/*
 * What the argument of a request is about, read once before the command's own call: the range of a
 * map or unmap, the feature, and what has to be populated for it. An argument that cannot be read
 * is left to the kernel, which returns EFAULT.
 */
void argument_read(const void *argument, struct record *record, struct boost *boost);

#endif
